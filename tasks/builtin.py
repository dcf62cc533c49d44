"""``builtin:hello-world``: an image for two architectures that this package builds itself.

The same bytes everywhere: the programs are assembled here by hand (no compiler), the layer is a
ustar archive with fixed times, and its gzip frame holds a stored block, because the output of a
compressor differs from one zlib to the next.

Spec: image-spec 1.1; ELF-64 object file format; Linux system calls of amd64 and arm64.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from .errors import DeclarationError
from .oci.canonical_json import canonical
from .oci.digest import digest_bytes
from .oci.media_type import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST

CREATED = "1970-01-01T00:00:00Z"

TEXT = b"""
Hello from doit-oci!
This message shows that your machine turns an image into a running container.

What happened, each step a doit task keyed by digest:
 1. blob         the image's manifest, configuration and layer were checked and stored.
 2. layout       they were put together as an OCI image layout.
 3. rootfs       the layer was unpacked into a root file system.
 4. config.json  the image's configuration became a runtime configuration.
 5. run          an OCI runtime started /hello from this bundle, which printed this.

Run it again: only step 5 is left. Edit images.toml: only what changed is built anew.

"""

ELF_BASE = 0x400000
ELF_HEADERS = 64 + 56


def _elf(machine: int, code: bytes) -> bytes:
    """One loadable, executable, read-only segment that holds everything."""
    size = ELF_HEADERS + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1, 0)) + bytes(8)
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, ELF_BASE + ELF_HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, ELF_BASE, ELF_BASE, size, size, 0x1000)
    return ident + header + segment + code


def _hello_amd64(text: bytes) -> bytes:
    """write(1, text, len) until all is written, then exit(0); exit(1) on an error."""
    code = bytearray()
    code += b"\xba" + struct.pack("<I", len(text))  # mov edx, len
    code += b"\x48\x8d\x35" + struct.pack("<i", 0)  # lea rsi, [rip + text]
    patch, after_lea = len(code) - 4, len(code)
    code += b"\xbf\x01\x00\x00\x00"  # again: mov edi, 1
    code += b"\xb8\x01\x00\x00\x00"  # mov eax, write
    code += b"\x0f\x05"  # syscall
    code += b"\x48\x85\xc0"  # test rax, rax
    code += b"\x7e\x10"  # jle failed
    code += b"\x48\x01\xc6"  # add rsi, rax
    code += b"\x29\xc2"  # sub edx, eax
    code += b"\x75\xe8"  # jnz again
    code += b"\x31\xff"  # xor edi, edi
    code += b"\xb8\x3c\x00\x00\x00"  # leave: mov eax, exit
    code += b"\x0f\x05"  # syscall
    code += b"\xbf\x01\x00\x00\x00"  # failed: mov edi, 1
    code += b"\xeb\xf2"  # jmp leave
    struct.pack_into("<i", code, patch, len(code) - after_lea)
    return _elf(62, bytes(code) + text)


def _hello_arm64(text: bytes) -> bytes:
    """The same, in A64 instructions."""
    words = [
        0x52800002 | len(text) << 5,  # mov w2, len
        0x10000001 | 14 << 5,  # adr x1, text (14 words ahead)
        0x52800020,  # again: mov w0, 1
        0x52800808,  # mov w8, write (64)
        0xD4000001,  # svc 0
        0xF100001F,  # cmp x0, 0
        0x5400000D | 7 << 5,  # b.le failed
        0x8B000021,  # add x1, x1, x0
        0x6B000042,  # subs w2, w2, w0
        0x54000001 | (-7 & 0x7FFFF) << 5,  # b.ne again
        0x52800000,  # mov w0, 0
        0x52800BA8,  # leave: mov w8, exit (93)
        0xD4000001,  # svc 0
        0x52800020,  # failed: mov w0, 1
        0x14000000 | (-3 & 0x3FFFFFF),  # b leave
    ]
    return _elf(183, struct.pack(f"<{len(words)}I", *words) + text)


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def _tar(name: bytes, content: bytes, mode: int) -> bytes:
    """A ustar archive of one file, all times zero, owned by root."""
    head = bytearray(512)
    head[0 : len(name)] = name
    head[100:108], head[108:116], head[116:124] = _octal(mode, 8), _octal(0, 8), _octal(0, 8)
    head[124:136], head[136:148] = _octal(len(content), 12), _octal(0, 12)
    head[148:156] = b" " * 8
    head[156:157] = b"0"
    head[257:265] = b"ustar\x0000"
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content + bytes(-len(content) % 512) + bytes(1024)


def _gzip_stored(content: bytes) -> bytes:
    """A gzip member of stored blocks: no compressor has a say in its bytes."""
    blocks = [content[at : at + 0xFFFF] for at in range(0, len(content), 0xFFFF)]
    body = b"".join(
        struct.pack("<BHH", number == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for number, block in enumerate(blocks)
    )
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return head + body + struct.pack("<II", zlib.crc32(content), len(content))


PROGRAMS: dict[str, dict[str, Callable[[bytes], bytes]]] = {
    "hello-world": {"amd64": _hello_amd64, "arm64": _hello_arm64}
}


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(digest_bytes(content)), "size": len(content)}


def builtin_image(name: str) -> tuple[bytes, Mapping[str, bytes]]:
    """The raw image index of a built-in image and all blobs below it by digest text.

    Raises: DeclarationError for a name that is not built in.
    """
    programs = PROGRAMS.get(name)
    if programs is None:
        raise DeclarationError(
            f"no built-in image of that name; there is {', '.join(sorted(PROGRAMS))}",
            subject=f"builtin:{name}",
        )
    blobs: dict[str, bytes] = {}
    manifests = []
    for architecture, assemble in programs.items():
        tar = _tar(b"hello", assemble(TEXT), 0o755)
        layer = _gzip_stored(tar)
        config = canonical(
            {
                "architecture": architecture,
                "os": "linux",
                "created": CREATED,
                "author": "doit-oci",
                "config": {
                    "Cmd": ["/hello"],
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                    "WorkingDir": "/",
                },
                "rootfs": {"type": "layers", "diff_ids": [str(digest_bytes(tar))]},
                "history": [{"created": CREATED, "created_by": "doit-oci: builtin:hello-world"}],
            }
        )
        manifest = canonical(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": _descriptor(OCI_CONFIG, config),
                "layers": [_descriptor(OCI_LAYER_GZIP, layer)],
            }
        )
        for content in (layer, config, manifest):
            blobs[str(digest_bytes(content))] = content
        platform = {"architecture": architecture, "os": "linux"}
        manifests.append(_descriptor(OCI_MANIFEST, manifest) | {"platform": platform})
    index = canonical({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
    return index, blobs
