"""One target's chain, done in order without doit.

doit's start costs more than a small image's every step. Where one target is asked for there is
nothing to schedule: the works are the same objects that creators.py makes doit's tasks of, told of
in the same words, and what is wrong before the first of them is left to doit's door to say.
"""

from __future__ import annotations

import os

from .errors import DoitOciError, UnknownTarget
from .interrupt import status_of
from .step import is_current, perform, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .project.plan import Options, Plan
    from .step import Work
    from .steps import Steps
    from .view.events import Events

STEPS = ("layout", "rootfs", "config", "bundle", "run")
BUG = 2


def build_target(word: str, options: Options) -> int | None:
    """Do ``STEP:NAME`` and return the exit status; None where that is doit's to do."""
    step, _, name = word.partition(":")
    if step not in STEPS or options.shard is not None:
        return None
    from .project_folder import open_plan
    from .steps import Steps
    from .view.events import Events

    try:
        plan = open_plan(options)
        images, works = _chain(plan, step, name)
    except (DoitOciError, OSError):
        return None
    steps, events = Steps(plan), plan.progress
    assert isinstance(events, Events), "a plan that was opened for a command line tells events"
    status = BUG
    try:
        steps.locking.resolve(images)
        status = _perform_all(works or steps.works(step, name), events)
    except DoitOciError as error:
        status = _say(error, events)
    except OSError as error:
        status = _say(refusal(error), events)
    except KeyboardInterrupt as interrupt:
        status = status_of(interrupt)
        raise
    finally:
        status = _flush(steps, events) or status
        events.close(status)
        _leave_database(plan.workspace.database)
    return status


def _chain(plan: Plan, step: str, name: str) -> tuple[list[str], list[Work] | None]:
    """The images that a target needs, and what has to be done where that is no chain of steps.

    Raises: UnknownTarget.
    """
    if step == "layout":
        return [plan.images.image(name).name], None
    try:
        return [plan.bundle(name).image], None
    except UnknownTarget:
        from .imported import is_imported, run_imported
        from .step import Command

        if step != "run" or not is_imported(plan, name):
            raise
        return [], [Command(f"run:{name}", lambda: run_imported(plan, name))]


def _perform_all(works: Iterable[Work], events: Events) -> int:
    for work in works:
        if is_current(work):
            events.hit(work.title, work.size)
            continue
        try:
            perform(work, events)
        except DoitOciError as error:
            events.failure(work.title, str(error))
            return error.exit_status
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else BUG
        except Exception:  # noqa: BLE001 - whatever it is, it is told once and ends the chain
            import traceback

            text = f"this is a bug in doit-oci\n{traceback.format_exc()}"
            events.error(work.title, text, bug=True)
            return BUG
    return 0


def _flush(steps: Steps, events: Events) -> int:
    """Write what the lock still waits for; the exit status of a failure, else 0."""
    try:
        steps.locking.flush()
    except DoitOciError as error:
        return _say(error, events)
    return 0


def _say(error: DoitOciError, events: Events) -> int:
    events.error(error.subject, error.message, hint=error.hint or "")
    return error.exit_status


def _leave_database(path: Path) -> None:
    """doit's database is there after every build, and has nothing to say of this one."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except OSError:
        return
