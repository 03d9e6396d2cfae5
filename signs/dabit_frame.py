"""The frames of the DABIT ASCII protocol: `![AEM…!]`, then two check characters if E is 1.

In: an address, a command, its data. Out: bytes; and from bytes an answer.

| field | meaning |
|---|---|
| A | the sign's address: 0 alone on its line, 1-F on RS-485 |
| E | 1: two check characters follow the end |
| M | 0 a real-time message (RAM), 1 a page message (flash); two digits: a special command, from firmware 7.5 on |
| answer | `![0EMR!]`, R being 0 for done and F for failed; answers to questions have their text there |
"""

from dataclasses import dataclass
from functools import reduce

from signs.errors import NotDrawable, SignRefused

START, END = b"![", b"!]"
ADDRESSES = "0123456789ABCDEF"
REAL_TIME = "0"
SCREEN, BRIGHTNESS, FIRMWARE = "21", "50", "81"  # special commands
DONE, FAILED = "0", "F"
LONGEST = 512  # bytes; without an end by then it is no answer


def bcc(frame: bytes) -> bytes:
    """Return the check characters of a frame: the XOR of its bytes, start and end included, in upper-case hex."""
    return b"%02X" % reduce(lambda one, other: one ^ other, frame, 0)


def command(address: str, kind: str, data: bytes, *, check: bool) -> bytes:
    """Return a command's frame.

    Args:
        address: one of `ADDRESSES`.
        kind: `REAL_TIME` or a special command.
        data: attributes and text in the sign's encoding.
        check: add the check characters.

    Raises:
        NotDrawable: the data has the characters that end a frame.
    """
    if END in data:
        raise NotDrawable("The text has the characters !], which end a frame.", "The protocol has no way to send them.")
    frame = START + f"{address}{int(check)}{kind}".encode() + data + END
    return frame + bcc(frame) if check else frame


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: the command that it belongs to, and R or the text of what was asked."""

    kind: str
    said: str

    @property
    def done(self) -> bool:
        """Whether the sign did it."""
        return self.said == DONE

    @property
    def failed(self) -> bool:
        """Whether the sign said that it could not."""
        return self.said == FAILED


def find_answer(received: bytes) -> bytes | None:
    """Return the first whole answer in what came so far, with check characters if they are there; None: wait for more.

    Raises:
        SignRefused: so many bytes without an answer are something else.
    """
    begin = received.find(START)
    end = received.find(END, begin + len(START)) if begin >= 0 else -1
    if end >= 0:
        return received[begin : end + len(END) + 2]
    if len(received) > LONGEST:
        raise SignRefused("The sign sends something else than answers.", "Check port, speed and protocol of the sign.")
    return None


def read_answer(frame: bytes, kind: str, *, check: bool) -> Answer:
    """Read the answer to a command.

    Args:
        frame: what `find_answer` returned.
        kind: of the command that was sent.
        check: whether the command had check characters; an answer's own are verified if they are there.

    Raises:
        SignRefused: it is damaged, or no answer to this command.
    """
    end = frame.rindex(END) + len(END)
    body, tail = frame[len(START) : end - len(END)], frame[end:]
    told = body.decode("ascii", "replace")
    if check and len(tail) == 2 and tail != bcc(frame[:end]):
        raise SignRefused(f"The sign's answer {told!r} is damaged: {tail!r} is not its check.", "Check the line.")
    said = told[2 + len(kind) :]
    if not told.startswith(f"0{int(check)}{kind}") or not said:
        raise SignRefused(f"The sign answered {told!r}, which is no answer to this command.", "Is it a DABIT sign?")
    return Answer(kind, said)
