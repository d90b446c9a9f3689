"""Every figure has a source and a date, and can be shown in both languages."""

from collections import Counter
from datetime import date

import pytest

from gptoss_lab import facts
from gptoss_lab.text import LANGUAGES, area_texts

ALL = facts.all_facts()


@pytest.mark.parametrize("name", ALL)
def test_every_fact_has_a_public_source_and_a_date(name: str) -> None:
    found = ALL[name]
    assert found.source.startswith("https://")
    assert date.fromisoformat(found.as_of) <= date.today()
    assert found.sure in facts.SURE
    assert found.value not in ("", 0)


def test_no_fact_is_stated_twice() -> None:
    stated = Counter((name.split(".")[0], found.value, found.unit, found.note) for name, found in ALL.items())
    assert [figure for figure, times in stated.items() if times > 1] == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_fact_has_a_label_and_a_unit_in_each_language(lang: str) -> None:
    words = area_texts(lang, "facts")
    assert set(words["labels"]) == set(ALL)
    assert {found.unit for found in ALL.values()} - {""} == set(words["units"])
    assert set(words["sure"]) == set(facts.SURE)


@pytest.mark.parametrize(("lang", "shown"), [("en", "131,072 tokens"), ("zh", "131,072 词元")])
def test_a_table_shows_value_source_and_date(lang: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", lang)
    shown_table = facts.table("gpt_oss.context", "ollama.port")
    found = ALL["gpt_oss.context"]
    for drawn in (repr(shown_table), shown_table._repr_html_()):
        assert shown in drawn and found.source in drawn and found.as_of in drawn


def test_an_unknown_figure_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        facts.table("gpt_oss.price")
