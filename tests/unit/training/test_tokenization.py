"""Tokens of lessons: those that the same text has in a whole message."""

from core.park import Scene
from core.prompt import build_messages
from core.reading import Reading
from core.season import Season
from data.lessons import bare_lesson, going_on
from tests.conftest import ROOT
from training.tokenization import lesson_ids, load_tokenizer, prompt_ids, row_ids

BASE = ROOT / "training/base/nano"
READING, SCENE = Reading(15, 26), Scene(Season.SUMMER, ("벤치", "정자"))
FIRST, SECOND = "어제보다 11도 올라 무덥습니다.", "정자에서 더위를 식히세요."


def test_a_part_has_the_tokens_of_the_whole_message() -> None:
    tokenizer = load_tokenizer(BASE)
    talk = build_messages(READING, SCENE)
    message = {"prompt": talk, "completion": [{"role": "assistant", "content": f"{FIRST} {SECOND}"}]}
    whole, asked = row_ids(tokenizer, message)
    ids, given = lesson_ids(tokenizer, going_on(READING, talk, FIRST, SECOND).as_conversation())
    assert ids == whole[:-1], "all but the end of the turn"
    assert ids[:asked] == prompt_ids(tokenizer, talk)
    assert tokenizer.decode(ids[asked:given]) == FIRST, "given, not learned"
    assert tokenizer.decode(ids[given:]) == f" {SECOND}"


def test_a_bare_lesson_begins_like_a_text() -> None:
    tokenizer = load_tokenizer(BASE)
    ids, given = lesson_ids(tokenizer, bare_lesson(READING).as_conversation())
    assert ids[0] in (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.decode(ids[1:given]) == "15 26 ="
    assert tokenizer.decode(ids[given:]) == "11 up\n"
