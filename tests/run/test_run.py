"""Runs in the foreground, under real runtimes, as root and as ordinary users."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.bundles import Bundle, config_json, wait_for

WORDS = ["A=b", "", "-x", "--", "two words", "a\nb", "ä€", "$HOME", "'\""]
WRITE_EVERYWHERE = """
echo x > /new; rm -rf /bin/tty /etc/passwd; chmod 700 /etc; chown 5:5 /tmp 2>/dev/null
echo y >> /bin/busybox; mkdir -p /a/b/c; touch /proc-not; ls / > /tmp/list; exit 0
"""


def test_status_output_and_arguments_are_the_containers_own(anyone: Bundle, runtime: str) -> None:
    script = 'for word; do printf "[%s]" "$word"; done; echo err >&2; exit 7'
    done = anyone.run("sh", "-c", script, "sh", *WORDS, runtime=runtime)
    assert done.stdout.decode() == "".join(f"[{word}]" for word in WORDS)
    assert (done.returncode, done.stderr) == (7, b"err\n")
    anyone.assert_nothing_left()


def test_a_run_never_changes_the_bundle(anyone: Bundle, runtime: str) -> None:
    before = anyone.digest()
    done = anyone.run("sh", "-c", WRITE_EVERYWHERE, runtime=runtime)
    assert done.returncode == 0, done.stderr
    assert anyone.digest() == before
    anyone.assert_nothing_left()


def test_arguments_replace_the_command_and_keep_the_entrypoint(box: Bundle) -> None:
    box.configure(["echo", "entry", "cmd"])
    assert box.run().stdout == b"entry cmd\n"
    assert box.run("A=b", entrypoint=["echo", "entry"]).stdout == b"entry A=b\n"
    assert box.run(entrypoint=["echo", "entry"], args=[]).stdout == b"entry\n"


def test_standard_input_arrives_whole(anyone: Bundle, runtime: str) -> None:
    data = os.urandom(3_000_000)
    assert anyone.run("cat", stdin=data, runtime=runtime).stdout == data


def test_standard_output_and_error_keep_their_order(anyone: Bundle, runtime: str) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done"
    files = {"stderr": subprocess.STDOUT}
    with anyone.start("sh", "-c", script, runtime=runtime, files=files) as process:
        out, _ = process.communicate(timeout=60)
    assert out.decode() == "".join(f"out {i}\nerr {i}\n" for i in range(1, 10))


def test_hooks_run_after_the_end(box: Bundle, runtime: str) -> None:
    mark = box.project / "after"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {mark}"]}
    box.configure(["sh", "-c", "exit 5"], hooks={"poststop": [hook]})
    assert box.run(runtime=runtime).returncode == 5
    assert json.loads(mark.read_text())["status"] == "stopped"
    box.assert_nothing_left()


def test_a_reader_that_leaves_early_ends_the_container(box: Bundle, runtime: str) -> None:
    with box.start("sh", "-c", "while :; do echo y || exit 0; done", runtime=runtime) as process:
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        process.wait(20)
        box.assert_nothing_left()


def test_root_is_read_only_where_the_bundle_says_so(anyone: Bundle, runtime: str) -> None:
    anyone.configure(["sh", "-c", "touch /x"], root={"path": "rootfs", "readonly": True})
    before = anyone.digest()
    done = anyone.run(runtime=runtime)
    assert done.returncode == 1
    assert b"Read-only file system" in done.stderr
    assert anyone.digest() == before
    anyone.assert_nothing_left()


def test_a_read_only_root_without_mount_points_stays_without(box: Bundle, runtime: str) -> None:
    (box.rootfs / "proc").rmdir()
    (box.rootfs / "sys").rmdir()
    box.configure(["true"], root={"path": "rootfs", "readonly": True})
    assert box.run(runtime=runtime).returncode == 0
    assert not (box.rootfs / "proc").exists()


def test_a_relative_volume_is_the_projects(anyone: Bundle, runtime: str) -> None:
    (anyone.project / "data").mkdir()
    (anyone.project / "data/file").write_text("content")
    mounts = [
        *config_json([])["mounts"],
        {"destination": "/data", "type": "bind", "source": "./data", "options": ["rbind"]},
    ]
    anyone.configure(["sh", "-c", "cat /data/file; echo new > /data/new"], mounts=mounts)
    anyone.give_away()
    assert anyone.run(runtime=runtime).stdout == b"content"
    assert (anyone.project / "data/new").read_text() == "new\n"


def _missing_volume(box: Bundle) -> None:
    mount = {"destination": "/d", "type": "bind", "source": "nowhere", "options": ["bind"]}
    box.configure(["true"], mounts=[mount])


def _missing_rootfs(box: Bundle) -> None:
    box.rootfs.rename(box.path / "elsewhere")


def _missing_config(box: Bundle) -> None:
    (box.path / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "settings", "words"),
    [
        (_missing_volume, {}, "nowhere does not exist"),
        (_missing_rootfs, {}, "has no rootfs"),
        (_missing_config, {}, "has no config.json"),
        (None, {"args": ["nothing-of-that-name"]}, "nothing-of-that-name"),
        (None, {"runtime": "no-such-runtime"}, "apt-get install runc"),
        (None, {"runtime": "/etc/passwd"}, "not executable"),
    ],
    ids=["volume", "rootfs", "config.json", "command", "runtime by name", "runtime by path"],
)
def test_what_is_missing_is_said_in_words(box, spoil, settings, words) -> None:
    if spoil is not None:
        spoil(box)
    done = box.run(**settings)
    assert done.returncode == 1
    assert done.stderr.startswith(b"RuntimeFailed: ") or b"\nRuntimeFailed: " in done.stderr
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    box.assert_nothing_left()


def test_sequential_and_parallel_runs_leave_nothing(box: Bundle, runtime: str) -> None:
    def one(number: int) -> bytes:
        return box.run("sh", "-c", f"echo {number} > /n; cat /n", runtime=runtime).stdout

    assert [one(number) for number in range(100)] == [b"%d\n" % number for number in range(100)]
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(one, range(20))) == [b"%d\n" % number for number in range(20)]
    box.assert_nothing_left()


def test_time_limit(box: Bundle, runtime: str) -> None:
    script = "trap 'echo asked; exit 3' TERM; while :; do sleep 0.02; done"
    done = box.run("sh", "-c", script, runtime=runtime, timeout=2)
    assert (done.returncode, done.stdout) == (124, b"asked\n")
    assert b"stopped after 2 seconds" in done.stderr


def test_a_container_that_ignores_its_time_limit_is_killed(box: Bundle, runtime: str) -> None:
    done = box.run("sleep", "1000", runtime=runtime, timeout=0.2, stop_grace=0.2)
    assert done.returncode == 124
    box.assert_nothing_left()


def test_the_images_stop_signal_is_used(box: Bundle) -> None:
    script = "trap 'echo quit; exit 3' QUIT; while :; do sleep 0.02; done"
    annotations = {"org.opencontainers.image.stopSignal": "SIGQUIT"}
    box.configure(["sh", "-c", script], annotations=annotations)
    assert box.run(timeout=2).stdout == b"quit\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_container_once(anyone: Bundle, runtime: str, number: int) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    script = f"trap 'echo got' {name}; echo up; for i in 1 2 3 4; do sleep 0.1; done; exit 9"
    with anyone.start("sh", "-c", script, runtime=runtime) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        assert (out, process.returncode) == (b"got\n", 9)


def test_the_second_interrupt_kills(anyone: Bundle, runtime: str) -> None:
    with anyone.start("sh", "-c", "trap '' INT; echo up; sleep 1000", runtime=runtime) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        with pytest.raises(Exception, match="timed out"):
            process.wait(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 137
        anyone.assert_nothing_left()


@pytest.mark.parametrize("victim", ["all of ours", "process 1", "sleep"])
def test_whatever_is_killed_nothing_stays(anyone: Bundle, runtime: str, victim: str) -> None:
    with anyone.start("sleep", "1000", runtime=runtime) as process:

        def victims() -> list[int]:
            found = anyone.processes()
            if not any(line.startswith("sleep") for _, line in found):
                return []
            if victim == "sleep":
                return [number for number, line in found if line.startswith("sleep")]
            ours = [number for number, line in found if "run_one.py" in line]
            return ours if victim == "all of ours" else [n for n in ours if _is_process_one(n)]

        for number in wait_for(victims):
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.communicate(timeout=60)
        wait_for(lambda: not anyone.processes())
        assert anyone.run("true", runtime=runtime).returncode == 0
        anyone.assert_nothing_left()


def _is_process_one(number: int) -> bool:
    status = Path(f"/proc/{number}/status").read_text()
    (numbers,) = (line.split()[1:] for line in status.splitlines() if line.startswith("NSpid"))
    return len(numbers) > 1 and numbers[-1] == "1"


def test_a_killed_start_leaves_nothing(box: Bundle, runtime: str) -> None:
    """The runtime killed while it starts, by a hook that does not end."""
    hook = {"path": "/bin/sleep", "args": ["sleep", "1000"]}
    box.configure(["true"], hooks={"prestart": [hook]})
    with box.start(runtime=runtime) as process:

        def runtimes() -> list[int]:
            words = [(number, line.split(" ")) for number, line in box.processes()]
            return [number for number, line in words if line[0].endswith(f"/{runtime}")]

        for number in wait_for(runtimes):
            with contextlib.suppress(ProcessLookupError):  # it may be below one that is gone
                os.kill(number, signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode != 0
    box.assert_nothing_left()


def test_a_persistent_bundle_keeps_what_it_wrote(anyone: Bundle, runtime: str) -> None:
    before = anyone.digest()
    script = "echo line >> /etc/notes; cat /etc/notes"
    settings = {"runtime": runtime, "persistent": True}
    assert anyone.run("sh", "-c", script, **settings).stdout == b"line\n"
    assert anyone.run("sh", "-c", script, **settings).stdout == b"line\nline\n"
    assert anyone.run("ls", "/etc", runtime=runtime).stdout == b"hosts\npasswd\n"
    assert anyone.digest() == before


def test_reset_empties_a_persistent_bundle(box: Bundle) -> None:
    from tasks.run import reset_bundle

    box.run("touch", "/etc/new", persistent=True)
    reset_bundle(name="box", run_dir=box.run_dir)
    assert box.run("ls", "/etc", persistent=True).stdout == b"hosts\npasswd\n"


def test_a_persistent_bundle_runs_once_at_a_time(box: Bundle) -> None:
    with box.start("sh", "-c", "echo up; cat", persistent=True) as process:
        assert process.stdout.readline() == b"up\n"
        done = box.run("true", persistent=True)
        assert done.returncode == 1
        assert b"already running" in done.stderr
        process.communicate(timeout=60)
        assert box.run("true", persistent=True).returncode == 0


def test_init_reaps_and_stands_before_the_command(anyone: Bundle, runtime: str) -> None:
    done = anyone.run("sh", "-c", "cat /proc/1/comm; echo $$", runtime=runtime, init=True)
    assert done.stdout.startswith(b".doit-oci-init\n")
    assert done.stdout.split()[1] != b"1"


def test_an_init_ends_on_the_first_signal(box: Bundle, runtime: str) -> None:
    with box.start("sh", "-c", "echo up; exec sleep 1000", runtime=runtime, init=True) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143


def test_a_run_folder_that_cannot_be_written_is_said_in_words(users, place) -> None:
    box = Bundle(place, users["a single id"])
    box.run_dir.mkdir()
    done = box.run("true")
    assert done.returncode == 1
    assert done.stderr.startswith(b"StoreError: ")
    assert b"belongs to someone else" in done.stderr


def test_a_caller_that_ignores_its_children(box: Bundle, runtime: str) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    with box.start("sh", "-c", "exit 4", runtime=runtime, files={"preexec_fn": ignore}) as process:
        process.communicate(timeout=60)
        assert process.returncode == 4
