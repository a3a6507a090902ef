"""Progress: events become lines, and agents who speak at once can be told apart."""

from __future__ import annotations

import io

from orca.cli.progress import Progress
from orca_agent.work.events import CallFinished, CallRestarted, CallStarted, Delta, Event, ModelResolved, RunStarted
from orca_protocol.journal import Outcome, Path, Stop
from orca_protocol.model import Answer, Failure, ModelIdentity, Usage

A, B = Path(1, 0, 0), Path(1, 0, 1)
WHO = ModelIdentity(provider="p", model="m")


def shown(*events: Event) -> str:
    stream = io.StringIO()
    progress = Progress(stream)
    for event in events:
        progress(event)
    return stream.getvalue()


def says(path: Path, text: str) -> Delta:
    return Delta(path, {A: "A", B: "B"}.get(path, "?"), text)


def ended(outcome: Outcome, seconds: float = 1.26) -> CallFinished:
    return CallFinished(A, "A", outcome, seconds)


def test_each_event_is_a_line() -> None:
    answer = Answer(content="yes", finish_reason="stop", model=WHO, usage=Usage(input_tokens=3, output_tokens=7))
    assert shown(
        RunStarted("run-1", 0, 0),
        CallStarted(A, "A"),
        ended(answer),
    ).splitlines() == [
        "run run-1",
        "[A] asked",
        "[A] answered, 7 tokens after 1.3 s",
    ]


def test_who_answers_is_said_and_an_alias_is_called_one() -> None:
    by_alias = shown(ModelResolved("gpt-4o", "local", "local/smol", alias=True))
    assert by_alias.startswith("model gpt-4o is answered by local/smol")
    assert "your alias" in by_alias
    assert "alias" not in shown(ModelResolved("scripted", "own", "scripted", alias=False))


def test_a_resumed_run_says_what_is_kept_and_what_is_asked_again() -> None:
    assert shown(RunStarted("run-1", 3, 1)) == "run run-1, resumed: 3 answers in the journal, 1 calls asked again\n"
    assert "resumed" in shown(RunStarted("run-1", 0, 1))


def test_every_ending_is_told_apart() -> None:
    assert shown(ended(Answer(content="", finish_reason="stop", model=WHO))) == "[A] answered after 1.3 s\n"
    assert shown(ended(Failure(code="overloaded", detail="busy"))) == "[A] failed: busy [overloaded] after 1.3 s\n"
    assert shown(ended(Stop(reason="deadline"))) == "[A] stopped: deadline after 1.3 s\n"


def test_one_speaker_is_named_once() -> None:
    assert shown(says(A, "Once "), says(A, "upon "), says(A, "a time")) == "[A] Once upon a time"


def test_interleaved_speakers_are_named_whenever_the_speaker_changes() -> None:
    text = shown(says(A, "one "), says(B, "eins "), says(B, "zwei"), says(A, "two"))
    assert text == "[A] one \n[B] eins zwei\n[A] two"


def test_the_same_agent_at_another_path_speaks_anew() -> None:
    first, second = Delta(Path(1, 0, 0), "A", "first"), Delta(Path(2, 0, 0), "A", "second")
    assert shown(first, second) == "[A] first\n[A] second"


def test_a_line_does_not_run_into_the_speech_before_it() -> None:
    text = shown(says(A, "one "), CallStarted(B, "B"), says(A, "two"))
    assert text == "[A] one \n[B] asked\n[A] two"


def test_a_restart_voids_what_was_said_and_the_speaker_is_named_again() -> None:
    text = shown(says(A, "half an ans"), CallRestarted(A, "A"), says(A, "a whole one"))
    assert text == "[A] half an ans\n[A] asked again; what it said so far is void\n[A] a whole one"


def test_every_event_is_seen_at_once() -> None:
    class Flushed(io.StringIO):
        seen = ""

        def flush(self) -> None:
            self.seen = self.getvalue()

    stream = Flushed()
    progress = Progress(stream)
    for event in (CallStarted(A, "A"), says(A, "word")):
        progress(event)
        assert stream.seen == stream.getvalue()


def test_a_closed_pipe_ends_the_telling_and_not_the_run() -> None:
    class Closed(io.StringIO):
        written = 0

        def write(self, text: str) -> int:
            self.written += 1
            raise BrokenPipeError

    stream = Closed()
    progress = Progress(stream)
    progress(CallStarted(Path(1, 0, 0), "A"))
    progress(CallStarted(Path(1, 0, 1), "B"))
    assert stream.written == 1


def test_a_name_or_a_word_of_a_model_cannot_command_the_terminal() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress(CallStarted(Path(1, 0, 0), "A\r\nSOUND"))
    progress(Delta(Path(1, 0, 0), "A", "two\nlines\x1b[2J"))
    assert (
        stream.getvalue()
        == "[A\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}SOUND] asked\n[A] two\nlines\N{REPLACEMENT CHARACTER}[2J"
    )
