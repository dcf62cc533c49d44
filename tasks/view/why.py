"""Why: what would run for a target and why, without running it; and where config.json is from.

The findings are those of the steps themselves: the same question that decides for doit whether a
task is up to date, so ``doit info`` and a build agree with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import DoitOciError
from ..figures import size_text
from ..oci.descriptor import Descriptor
from ..project.plan import Plan, blobs_of
from ..project.reason import ABSENT, SAME, reasons
from ..project.step_key import step_key
from ..step import Step
from ..steps import Steps

CURRENT, DUE, UNKNOWN, ALWAYS = "up to date", "would run", "not known yet", "always runs"
LINKS = {CURRENT: " because ", DUE: " because "}
STAGES = ("blob", "layout", "rootfs", "config", "bundle", "check", "run")


class Finding(NamedTuple):
    """One task: its ``state``, the reasons for it, and the tasks that it ``needs``."""

    title: str
    state: str
    words: tuple[str, ...]
    needs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.title,
            "state": self.state,
            "why": list(self.words),
            "needs": list(self.needs),
        }


def parse_target(plan: Plan, word: str) -> tuple[str, str]:
    """``STEP:NAME``, or the name of a bundle alone. Raises: UnknownTarget."""
    step, colon, name = word.partition(":")
    if not colon:
        return "bundle", plan.bundle(word).name
    if step == "layout":
        return step, plan.images.image(name).name
    if step == "blob":
        return step, name
    if step not in STAGES:
        from ..creators import select

        select(plan, [word])
    return step, plan.bundle(name).name


def find_reasons(plan: Plan, words: Sequence[str]) -> list[Finding]:
    """Every task that the targets rest on, each once, in the order of the work.

    Raises: UnknownTarget.
    """
    steps = Steps(plan)
    names = words or [f"bundle:{name}" for name in plan.bundle_names()]
    found: dict[str, Finding] = {}
    for word in names:
        step, name = parse_target(plan, word)
        if step == "blob":
            found |= {each.title: each for each in _named_blob(steps, name)}
            continue
        bundle = _bundle_of(plan, name) if step == "layout" else name
        for finding in chain_findings(steps, bundle, upto=step):
            found.setdefault(finding.title, finding)
    return list(found.values())


def chain_findings(steps: Steps, name: str, *, upto: str) -> Iterator[Finding]:
    """The findings of one bundle, from its blobs up to one step."""
    bundle = steps.plan.bundle(name)
    unlocked = _unlocked(steps, bundle.image)
    blobs = list(_blobs(steps, bundle.image))
    yield from blobs
    before = tuple(blob.title for blob in blobs)
    chain = list(steps.chain(name))
    if upto == "check" and bundle.check is not None:
        chain.append(steps.check(name))
    rebuilt: set[str] = set()
    for step in chain:
        state, words = (DUE, (unlocked,)) if unlocked else _judge(step, rebuilt)
        yield Finding(step.title, state, words, before)
        rebuilt |= {step.step} if state != CURRENT else set()
        before = (step.title,)
        if step.step == upto:
            return
    if upto == "run":
        yield Finding(f"run:{name}", ALWAYS, ("running is what it is for",), before)


def _judge(step: Step, rebuilt: set[str]) -> tuple[str, tuple[str, ...]]:
    """State and reasons of a step; ``rebuilt`` are the steps before it that will run first."""
    if step.step == "check" and "bundle" in rebuilt:
        return UNKNOWN, (f"bundle:{step.name} runs first; a digest that passed is not run again",)
    try:
        parts = step.parts()
        reads = isinstance(parts["inputs"], Mapping) and "passwd" in parts["inputs"]
        if step.step == "config" and "rootfs" in rebuilt and reads:
            return UNKNOWN, (
                f"it looks up a user in the rootfs, and rootfs:{step.name} runs first",
            )
        if step.is_current():
            return CURRENT, (SAME.get(step.step, "nothing that it depends on has changed"),)
        return DUE, reasons(step.recorded(), step_key(parts), parts, full=True)
    except (DoitOciError, OSError) as problem:
        if step.recorded() is None:
            return DUE, reasons(None, "", {"step": step.step})
        return UNKNOWN, (str(problem).partition("\n")[0],)


def _unlocked(steps: Steps, image: str) -> str:
    """Why an image would have to be resolved first; empty where the lock has all of it."""
    known = steps.plan.locked_image(image)
    reference = str(steps.locking.reference(image))
    if known is None:
        return f"image {image} is not in the lock; it would be resolved first"
    if known.reference != reference:
        return f"image {image} is locked as {known.reference} and declared as {reference}"
    lacking = [str(p) for p in steps.plan.platforms(image) if str(p) not in known.platforms]
    return f"image {image} is not in the lock for {', '.join(lacking)}" if lacking else ""


def _blobs(steps: Steps, image: str) -> Iterator[Finding]:
    for descriptor in steps.locking.image_blobs(image):
        yield _blob(steps, descriptor)


def _blob(steps: Steps, descriptor: Descriptor) -> Finding:
    size = size_text(descriptor.size)
    if steps.images.has_blob(descriptor):
        return Finding(f"blob:{descriptor.digest}", CURRENT, (f"it is in the store ({size})",), ())
    return Finding(f"blob:{descriptor.digest}", DUE, (f"{ABSENT} ({size} to fetch)",), ())


def _named_blob(steps: Steps, digest: str) -> Iterator[Finding]:
    for name in steps.plan.bundle_names():
        locked = steps.locking.locked(name)
        for descriptor in blobs_of(locked) if locked else ():
            if str(descriptor.digest) == digest:
                yield _blob(steps, descriptor)
                return
    yield Finding(f"blob:{digest}", UNKNOWN, ("no locked image has a blob of that digest",), ())


def _bundle_of(plan: Plan, image: str) -> str:
    for name in plan.bundle_names():
        if plan.bundle(name).image == image:
            return name
    return image


def reasons_text(findings: Iterable[Finding]) -> str:
    """One line per task, further reasons below it."""
    found = list(findings)
    width = max((len(finding.title) for finding in found), default=0)
    lines = []
    for finding in found:
        first, *rest = finding.words or ("",)
        state = finding.state + LINKS.get(finding.state, ": ")
        lines.append(f"{finding.title:<{width}}  {state}{first}")
        lines += [f"{'':<{width}}  {'and ':>{len(state)}}{word}" for word in rest]
    return "".join(f"{line}\n" for line in lines)


class Origin(NamedTuple):
    """One value of config.json by JSON pointer, and where it came from."""

    pointer: str
    value: Any
    origin: str

    def to_json(self) -> dict[str, Any]:
        return {"pointer": self.pointer, "value": self.value, "origin": self.origin}


def find_origins(plan: Plan, name: str) -> list[Origin]:
    """Every value of a bundle's config.json, as it would be written now.

    Raises: UnknownTarget, ContentError, ConversionError, DeclarationError.
    """
    from .. import config_json as config_step

    bundle = plan.bundle(name)
    result = config_step.convert(
        image_config=plan.workspace.blob(plan.required(bundle).config.digest),
        bundle=bundle,
        rootfs=plan.workspace.rootfs(name),
        entries=plan.workspace.entries(name),
    )
    return [
        Origin(pointer, value_at(result.config, pointer), origin)
        for pointer, origin in result.origins.items()
    ]


def value_at(document: Any, pointer: str) -> Any:
    """What a JSON pointer names. Spec: RFC 6901.

    >>> value_at({"a/b": [1, 2]}, "/a~1b/1")
    2
    """
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


LONG_LIST = 50
"""Values of one origin below one place that are said together: the table of system calls."""


def gathered(origins: Sequence[Origin]) -> Iterator[Origin]:
    """The origins with long lists of one origin in one line each."""
    groups: dict[str, list[Origin]] = {}
    for each in origins:
        groups.setdefault("/".join(each.pointer.split("/")[:4]), []).append(each)
    for place, members in groups.items():
        if len(members) > LONG_LIST and len({each.origin for each in members}) == 1:
            yield Origin(place, f"({len(members)} values)", members[0].origin)
        else:
            yield from members


def origins_text(origins: Sequence[Origin]) -> str:
    """A table of value and origin."""
    rows = list(gathered(origins))
    shown = [each.value if _is_count(each) else json.dumps(each.value) for each in rows]
    width = max((len(each.pointer) for each in rows), default=0)
    middle = min(max((len(text) for text in shown), default=0), 60)
    return "".join(
        f"{each.pointer:<{width}}  {text:<{middle}}  {each.origin}\n"
        for each, text in zip(rows, shown, strict=True)
    )


def _is_count(origin: Origin) -> bool:
    return isinstance(origin.value, str) and origin.value.endswith(" values)")
