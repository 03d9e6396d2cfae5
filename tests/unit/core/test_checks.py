"""Message checks: good messages pass, and every kind of problem is found, alone and by name."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalogue import elements, words_of
from core.checks import check_alphabet, check_direction, check_message, check_number
from core.park import Scene
from core.problem import UNLISTED, Finding, Problem, Words, rejecting
from core.reading import Reading
from core.sign import Sign
from data.compose import advices_for, openings_for

RISE, FALL, SAME = Reading(10, 20), Reading(20, 10), Reading(20, 20)
EVERYTHING = Scene.of("봄", elements())
OPENING, ACTIVITY = "어제보다 10도 올라 화창합니다.", "공원 나들이 즐기세요."
GOOD = f"{OPENING} {ACTIVITY}"
SHORT = f"어제보다 10도 올라 포근합니다. {ACTIVITY}"

# The table of the original guide, word for word.
EXAMPLES = [
    (10, 20, "어제보다 10도 상승해 화창합니다. 공원 나들이 즐기세요."),
    (5, 20, "어제보다 15도 상승해 포근합니다. 활짝 핀 꽃길을 따라 걸어보세요."),
    (5, 20, "어제보다 15도 올라 따뜻해졌습니다. 잔디밭에서 피크닉 어떠세요?"),
    (35, 22, "어제보다 13도 낮아져 시원해졌습니다. 벤치에서 여유를 즐기세요."),
    (35, 22, "어제보다 13도 떨어져 쾌적합니다. 산책로를 천천히 걸어보세요."),
    (30, 38, "어제보다 8도 올라 매우 덥습니다. 나무 그늘 아래서 잠시 쉬어가세요."),
    (30, 38, "어제보다 8도 상승해 무더워요. 분수대 근처가 시원합니다."),
    (30, 38, "어제보다 8도 올라 덥습니다. 오전 일찍 산책 추천합니다."),
    (20, 15, "어제보다 5도 낮아져 선선해졌습니다. 가디건 하나 챙기세요."),
    (20, 15, "어제보다 5도 떨어져 시원합니다. 조깅으로 몸을 녹여보세요."),
    (10, 20, f"{OPENING} 정자 {'가' * 9}?"),
    (20, 20, "어제와 기온이 같아 화창합니다. 공원 나들이 즐기세요."),
    (18, 19, "어제보다 1도 올라 초봄 같습니다! 벤치에서 쉬어가세요."),  # 같 alone does not tell "no change"
]

# One entry: what must be found, no more and no less; the reading; the message.
BAD = [
    ({"empty"}, RISE, ""),
    ({"empty"}, RISE, " \n\t"),
    ({"number"}, RISE, f"어제보다 9도 올라 화창합니다. {ACTIVITY}"),
    ({"number"}, RISE, f"어제보다 1도 올라 화창합니다. {ACTIVITY}"),
    ({"number"}, RISE, f"어제보다 100도 올라 화창합니다. {ACTIVITY}"),
    ({"number", "sentences"}, RISE, f"어제보다 10.5도 올라 화창합니다. {ACTIVITY}"),
    ({"number"}, RISE, f"어제보다 10 올라 화창합니다. {ACTIVITY}"),
    ({"number"}, RISE, f"어제보다 열 도 올라 화창합니다. {ACTIVITY}"),
    ({"number"}, RISE, f"어제보다 10도 올라 20도로 화창합니다. {ACTIVITY}"),
    ({"number"}, RISE, f"{OPENING} 산책로도 10도입니다."),
    ({"number"}, RISE, f"{OPENING} 벤치 2개가 있어요."),
    ({"number", "alphabet"}, RISE, f"어제보다 -10도 올라 화창합니다. {ACTIVITY}"),
    ({"number", "alphabet"}, RISE, f"어제보다 １０도 올라 화창합니다. {ACTIVITY}"),
    ({"number"}, SAME, f"어제와 기온이 같아 20도로 화창합니다. {ACTIVITY}"),
    ({"number"}, SAME, f"어제와 기온이 같아 0도만큼 화창합니다. {ACTIVITY}"),
    ({"direction"}, RISE, f"어제보다 10도 내려 화창합니다. {ACTIVITY}"),
    ({"direction"}, FALL, "어제보다 10도 상승해 선선합니다. 겉옷을 챙기세요."),
    ({"direction"}, SAME, f"어제보다 올라 화창합니다. {ACTIVITY}"),
    ({"direction"}, SAME, f"어제보다 낮아져 화창합니다. {ACTIVITY}"),
    ({"direction"}, RISE, f"어제와 똑같이 10도로 화창합니다. {ACTIVITY}"),
    ({"direction"}, RISE, f"어제보다 10도 올랐다 떨어져 화창합니다. {ACTIVITY}"),
    ({"direction"}, RISE, f"어제보다 10도만큼 화창합니다. {ACTIVITY}"),
    ({"direction"}, RISE, "어제보다 10도, 화창합니다. 기온이 올라 산책 좋습니다."),
    ({"direction"}, RISE, f"기온이 10도 올라 화창합니다. {ACTIVITY}"),
    ({"direction"}, SAME, f"화창합니다. {ACTIVITY}"),
    ({"label"}, RISE, f"{OPENING} 산책 전에 전광판을 봐주세요."),
    ({"label"}, RISE, f"{OPENING} 벤치 또는 정자에서 쉬세요."),
    ({"label"}, RISE, f"{OPENING} 산책 입력을 기다립니다."),
    ({"label"}, RISE, f"{OPENING} 산책 출력을 기다립니다."),
    ({"label", "alphabet", "command", "width"}, RISE, f"**전광판 메시지:** {GOOD}"),
    ({"label", "alphabet", "width"}, RISE, f"메시지 : {SHORT}"),
    ({"label", "alphabet"}, RISE, f"출력: {SHORT}"),
    ({"label", "alphabet"}, RISE, f"user {SHORT}"),
    ({"label", "alphabet", "sentences"}, RISE, f"{GOOD} (또는)"),
    ({"label", "alphabet", "command", "sentences"}, RISE, f"{GOOD}<|im_end|>"),
    ({"label", "alphabet", "command", "sentences"}, RISE, f"{GOOD}<|EOT|>"),
    ({"label", "alphabet", "command", "sentences", "one_line"}, RISE, f"{GOOD}\n---"),
    ({"label", "alphabet", "command", "sentences", "one_line", "width"}, RISE, f"<think>\n{GOOD}\n</think>"),
    ({"one_line"}, RISE, f"{GOOD} "),
    ({"one_line"}, RISE, f" {GOOD}"),
    ({"one_line", "alphabet", "command"}, RISE, f"{GOOD}\n"),
    ({"one_line", "alphabet", "command"}, RISE, f"{OPENING}\n{ACTIVITY}"),
    ({"one_line", "alphabet"}, RISE, f"{OPENING}\u2028{ACTIVITY}"),
    ({"sentences"}, RISE, OPENING),
    ({"sentences"}, RISE, f"{OPENING} 나들이를.즐기세요."),
    ({"sentences"}, RISE, f"{OPENING} 나들이를 즐기세요?!"),
    ({"sentences"}, RISE, f"{GOOD} {ACTIVITY}"),
    ({"sentences"}, RISE, GOOD.removesuffix(".")),
    ({"sentences"}, RISE, f"{OPENING} ."),
    ({"sentences"}, RISE, f"{OPENING} ?!"),
    ({"width"}, RISE, f"{OPENING} 산책{'가' * 8}."),
    ({"width"}, RISE, f"{OPENING} 공원에서 오래오래 아주 천천히 여유롭게 걸어보세요."),
    ({"width"}, RISE, f"어제보다 10도나 크게 올라서 공기가 매우 매우 화창합니다. {ACTIVITY}"),
    ({"alphabet"}, RISE, f"{OPENING} 공원 나들이 즐기세요😊."),
    ({"alphabet"}, RISE, f"{OPENING} 뷁 나들이 즐기세요."),
    ({"alphabet"}, RISE, f"{OPENING} 花 나들이 즐기세요."),
    ({"alphabet"}, RISE, f"{OPENING} 나들이 ㅎㅎ 즐기세요."),
    ({"alphabet"}, RISE, f"{OPENING} LED 나들이 즐기세요."),
    ({"alphabet"}, RISE, f"{OPENING} 나들이\u200b 즐기세요."),
    ({"alphabet"}, RISE, f"{OPENING} 나들이\u00a0즐기세요."),
    *(({"warning"}, RISE, f"{OPENING} 산책 전 {word}를 살펴보세요.") for word in ("주의보", "경보", "특보")),
    ({"warning"}, RISE, f"{OPENING} 한파가 발령되어 쉬어갑니다."),
    ({"sense"}, Reading(-8, 2), f"어제보다 10도 올라 따뜻합니다. {ACTIVITY}"),
    ({"sense"}, RISE, f"{OPENING} 장갑을 꼭 챙기세요."),
    ({"absent"}, RISE, f"{OPENING} 카페에서 산책을 시작하세요."),
    ({"season"}, RISE, f"{OPENING} 가을 산책을 즐기세요."),
    ({"unmeasured"}, RISE, f"{OPENING} 햇살 아래 산책을 즐기세요."),
    ({"unsafe"}, Reading(30, 38), "어제보다 8도 올라 매우 덥습니다. 오래 거닐며 즐기세요."),
    ({"sense"}, RISE, f"어제보다 10도 올라 여전히 덥습니다. {ACTIVITY}"),
    ({"sense"}, Reading(19, 20), f"어제보다 1도 올라 따뜻해졌습니다. {ACTIVITY}"),
    *(({"command", "alphabet"}, RISE, f"{OPENING} 나들이{char} 즐기세요.") for char in "\\^~{}@$%&\x1b\x02\x7f"),
]


def problems(text: str, reading: Reading, scene: Scene = EVERYTHING) -> set[str]:
    """Return the kinds of contradictions; unknown words are none."""
    return {found.problem.value for found in rejecting(check_message(text, reading, scene), Words.OPEN)}


@pytest.mark.parametrize(("yesterday", "today", "text"), EXAMPLES)
def test_good_messages_pass(yesterday: int, today: int, text: str) -> None:
    assert problems(unicodedata.normalize("NFC", text), Reading(yesterday, today)) == set()


@pytest.mark.parametrize(("expected", "reading", "text"), BAD)
def test_bad_messages_are_rejected_for_the_right_reason(expected: set[str], reading: Reading, text: str) -> None:
    assert problems(text, reading) == expected


def test_every_problem_has_a_bad_message() -> None:
    assert set().union(*(expected for expected, _, _ in BAD)) == set(Problem) - UNLISTED - {
        Problem.UNFINISHED
    }  # no contradictions; the client's


@pytest.mark.parametrize("text", [GOOD, "어제보다 10도 올라 화창합니다. 산책 가."])
def test_decomposed_hangul_is_rejected(text: str) -> None:
    assert problems(text, RISE) == set()
    assert Problem.ALPHABET in problems(unicodedata.normalize("NFD", text), RISE)


@given(st.integers(-50, 60), st.integers(-50, 60), st.integers(0, 120))
def test_only_the_exact_difference_is_the_right_number(yesterday: int, today: int, number: int) -> None:
    reading = Reading(yesterday, today)
    right = number == abs(reading.change) != 0
    assert (check_number(f"어제보다 {number}도 올라 좋습니다.", reading) == []) is right
    assert (check_number("어제와 같습니다.", reading) == []) is (reading.change == 0)


@given(
    st.integers(-50, 60),
    st.integers(-50, 60),
    st.sampled_from(
        [(1, w) for w in ("올라", "올랐지만", "오르고", "오른", "상승해", "높아져", "높습니다")]
        + [(-1, w) for w in ("내려", "내렸지만", "내린", "떨어져", "낮아져", "낮습니다", "하락해", "하강해")]
    ),
)
def test_only_the_right_direction_passes(yesterday: int, today: int, told: tuple[int, str]) -> None:
    sign, word = told
    reading = Reading(yesterday, today)
    right = sign * reading.change > 0
    assert (check_direction(f"어제보다 {abs(reading.change)}도 {word} 좋네요.", reading) == []) is right


@pytest.mark.parametrize(
    "told", ["어제와 같은 기온", "어제와 똑같이", "기온이 같아 어제처럼", "어제 그대로", "어제와 변함없이"]
)
def test_no_change_is_stated_only_when_nothing_changed(told: str) -> None:
    text = f"{told} 좋습니다."
    assert check_direction(text, SAME) == []
    assert check_direction(text, RISE) != []
    assert check_direction(text, FALL) != []


@pytest.mark.parametrize("label", ["assistant", "Assistant", "SYSTEM", "User", "Think"])
def test_a_label_is_one_in_capitals_too(label: str) -> None:
    assert "label" in problems(f"{label} {GOOD}", RISE)
    assert "label" not in problems(GOOD, RISE)


@given(st.characters(), st.integers(0, len(GOOD)))
def test_a_character_the_sign_lacks_is_rejected_anywhere(char: str, place: int) -> None:
    shown = char in set("0123456789 .,?!") | ks_x_1001()
    text = GOOD[:place] + char + GOOD[place:]
    assert (Problem.ALPHABET in problems(text, RISE)) is not shown


@given(st.text(), st.integers(-50, 60), st.integers(-50, 60))
def test_arbitrary_text_never_passes(text: str, yesterday: int, today: int) -> None:
    assert problems(text, Reading(yesterday, today)) != set()


def test_the_sign_shows_exactly_the_2350_syllables_of_ks_x_1001() -> None:
    syllables = {chr(code) for code in range(ord("가"), ord("힣") + 1)}
    shown = {syllable for syllable in syllables if check_alphabet(syllable) == []}
    assert len(shown) == 2350
    assert shown == ks_x_1001()


@pytest.mark.parametrize(
    ("sign", "fits"),
    [
        ("20x2", True),
        ("17x2", True),
        ("14x2", False),
        ("20x1", False),
        ("40x1", True),
        ("scroll", True),
        ("scroll:40", False),
    ],
)
def test_the_message_must_fit_the_sign_it_is_for(sign: str, fits: bool) -> None:
    found = {found.problem for found in check_message(GOOD, RISE, EVERYTHING, Sign.parse(sign))} - UNLISTED
    assert found == (set() if fits else {Problem.WIDTH})


def test_words_that_the_catalogue_lacks_are_unknown_and_a_setting_decides() -> None:
    known = f"{openings_for(RISE, None)[0].text.format(n=10)} {advices_for(RISE, None)[0].text}"
    assert check_message(known, RISE) == []
    typo = f"{words_of(known)[-1][:-1]}오"
    found = check_message(f"{known.rsplit(' ', 1)[0]} {typo}.", RISE)
    assert [one for one in found if one.problem is Problem.UNKNOWN] == [Finding(Problem.UNKNOWN, typo)]
    assert rejecting(found, Words.STRICT) == found
    assert Problem.UNKNOWN not in {one.problem for one in rejecting(found, Words.OPEN)}


def ks_x_1001() -> set[str]:
    """Return the Hangul rows of KS X 1001, straight from their byte ranges."""
    rows = (bytes([row, cell]) for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF))
    return {pair.decode("euc_kr") for pair in rows}
