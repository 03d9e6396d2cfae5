"""`python -m clients say`: what it tells the model of the park, and how it treats new words."""

import pytest

from benchmarks.scripted_server import GOOD, right_answer, saying, scripted
from clients.__main__ import main
from core.park import Scene
from core.prompt import build_messages
from core.reading import Reading

NEW_WORD = GOOD.replace("들고", "들고 훨훨")


@pytest.mark.parametrize(
    "options", [["--season", "봄"], ["--elements", "산책로"], ["--season", "봄", "--elements", ""]], ids=" ".join
)
def test_season_and_elements_go_together(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(saying(GOOD)) as server:
        code = main(["say", "10", "20", "--url", server.url, *options])
    out, err = capsys.readouterr()
    assert (code, out, server.requests) == (1, "", [])
    assert err.startswith("error: --season and --elements go together.")


def test_a_scene_reaches_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(right_answer) as server:
        code = main(["say", "30", "36", "--url", server.url, "--season", "여름", "--elements", "산책로, 분수대,벤치"])
    assert (code, capsys.readouterr().err) == (0, "")
    (request,) = server.requests
    scene = Scene.of("여름", ["벤치", "분수대", "산책로"])
    assert request.body["messages"] == build_messages(Reading(30, 36), scene)


def test_a_message_is_checked_against_the_scene(capsys: pytest.CaptureFixture[str]) -> None:
    text = "기온이 어제보다 10도 올라 포근합니다. 벤치에 앉아 읽던 책을 펼쳐 보세요."
    with scripted(saying(text)) as server:
        assert main(["say", "10", "20", "--url", server.url, "--season", "봄", "--elements", "산책로"]) == 1
        assert "absent (벤치)" in capsys.readouterr().err
        assert main(["say", "10", "20", "--url", server.url, "--season", "봄", "--elements", "산책로,벤치"]) == 0
    assert capsys.readouterr().out == text + "\n"


def test_an_element_that_no_park_has_is_named_and_nothing_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(saying(GOOD)) as server:
        code = main(["say", "10", "20", "--url", server.url, "--season", "봄", "--elements", "산책로,동물원"])
    out, err = capsys.readouterr()
    assert (code, out, server.requests) == (1, "", [])
    assert "동물원" in err


@pytest.mark.parametrize("option", [["--season", "장마"], ["--words", "some"]], ids=" ".join)
def test_a_word_that_is_not_on_its_list_is_wrong_usage(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["say", "10", "20", *option])
    assert caught.value.code == 2
    assert option[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "shown"), [([], False), (["--words", "strict"], False), (["--words", "open"], True)]
)
def test_new_words_are_shown_only_if_they_are_open(
    options: list[str], shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted(saying(NEW_WORD)) as server:
        code = main(["say", "10", "20", "--url", server.url, *options])
    out, err = capsys.readouterr()
    assert (code, out) == ((0, NEW_WORD + "\n") if shown else (1, ""))
    assert ("unknown (훨훨)" in err) is not shown
