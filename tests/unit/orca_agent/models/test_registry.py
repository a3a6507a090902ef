from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.models.facts import ModelFacts, Price, Tier, plain
from orca_agent.models.registry import CatalogueRow, Registry, read_filter
from orca_protocol import budget
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.model import Answer, ModelIdentity, Usage
from tests.fakes.scripted_model import ScriptedModel


class Counting(ScriptedModel):
    """Counts its listings and takes its time for them."""

    def __init__(self, *names: str, name: str, seconds: float = 0.0) -> None:
        super().__init__(names=names, name=name)
        self.listings = 0
        self.seconds = seconds

    async def models(self) -> tuple[str, ...]:
        self.listings += 1
        await asyncio.sleep(self.seconds)
        return await super().models()


async def test_an_exact_name_resolves_to_its_provider() -> None:
    one, two = ScriptedModel(names=("a", "b"), name="one"), ScriptedModel(names=("c",), name="two")
    found = await Registry([one, two], {}).resolve("c")
    assert (found.name, found.provider, found.model, found.alias) == ("c", two, "c", None)


async def test_an_alias_is_one_visible_hop() -> None:
    local = ScriptedModel(names=("local/small",), name="local")
    found = await Registry([local], {"gpt-4o": "local/small"}).resolve("gpt-4o")
    assert (found.name, found.model, found.alias) == ("gpt-4o", "local/small", "gpt-4o")


async def test_an_exact_name_comes_before_an_alias() -> None:
    one = ScriptedModel(names=("a", "b"))
    registry = Registry([one], {"a": "b"})
    assert (await registry.resolve("a")).model == "a"
    assert (await registry.catalogue())[-1] == CatalogueRow(
        "a", "alias", False, "→ b, never used: a provider has a model of that very name"
    )


@pytest.mark.parametrize("aliases", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "real"}, {"": "real"}, {"a": ""}])
def test_alias_chains_and_loops_are_refused_at_once(aliases: dict[str, str]) -> None:
    with pytest.raises(InvalidError, match="bad_alias"):
        Registry([ScriptedModel(names=("real",))], aliases)


async def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidError, match="model_unavailable") as caught:
        await Registry([ScriptedModel(names=("a", "b"))], {"x": "a"}).resolve("gpt-5")
    assert "'gpt-5'; there are: x, a, b" in caught.value.detail


async def test_an_alias_to_nothing_is_refused_not_replaced() -> None:
    with pytest.raises(InvalidError, match=r"'x' \(alias of 'gone'\)"):
        await Registry([ScriptedModel(names=("a",))], {"x": "gone"}).resolve("x")


async def test_a_long_list_is_shown_in_part() -> None:
    with pytest.raises(InvalidError, match="and 80 more"):
        await Registry([ScriptedModel(names=tuple(f"m{i}" for i in range(100)))], {}).resolve("x")


async def test_a_name_that_two_providers_have_needs_the_provider() -> None:
    one, two = ScriptedModel(names=("a",), name="one"), ScriptedModel(names=("a",), name="two")
    registry = Registry([one, two], {"mine": "two/a"})
    with pytest.raises(InvalidError, match=r"model_ambiguous.*one/a or two/a"):
        await registry.resolve("a")
    assert (await registry.resolve("two/a")).provider is two
    found = await registry.resolve("mine")
    assert (found.provider, found.model) == (two, "a")


async def test_a_provider_that_cannot_list_is_named_not_swallowed() -> None:
    good, bad = ScriptedModel(names=("a",), name="good"), ScriptedModel(name="bad")
    bad.listing_error = UnavailableError("connect_failed", "nobody there")
    registry = Registry([good, bad], {"x": "a", "y": "gone"})
    assert (await registry.resolve("a")).provider is good
    with pytest.raises(UnavailableError, match=r"model_unavailable.*could not be asked: bad \(connect_failed: nobody there\)"):
        await registry.resolve("b")
    assert await registry.status() == {"good": None, "bad": "connect_failed: nobody there"}
    assert await registry.catalogue() == (
        CatalogueRow("a", "good", True, ""),
        CatalogueRow("*", "bad", False, "connect_failed: nobody there"),
        CatalogueRow("x", "good", True, "→ a"),
        CatalogueRow("y", "alias", False, "→ gone"),
    )


async def test_a_provider_that_came_up_later_is_found() -> None:
    late = ScriptedModel(names=("a",))
    late.listing_error = UnavailableError("connect_failed", "not yet")
    registry = Registry([late], {})
    with pytest.raises(UnavailableError, match="model_unavailable") as caught:
        await registry.resolve("a")
    assert caught.value.retry_after is not None
    late.listing_error = None
    assert (await registry.resolve("a")).model == "a"
    with pytest.raises(InvalidError, match="model_unavailable"):
        await registry.resolve("b")


async def test_a_provider_that_has_nothing_installed_was_asked_all_the_same() -> None:
    good, bare = ScriptedModel(names=("a",), name="good"), ScriptedModel(name="bare")
    bare.listing_error = UnavailableError("model_not_installed", "pip install it")
    with pytest.raises(InvalidError, match=r"model_unavailable.*bare \(model_not_installed: pip install it\)"):
        await Registry([good, bare], {}).resolve("b")


async def test_listings_are_fetched_once_and_side_by_side() -> None:
    providers = [Counting(f"m{i}", name=f"p{i}", seconds=0.01) for i in range(20)]
    registry = Registry(providers, {})
    found = await asyncio.gather(*(registry.resolve(f"m{i}") for i in range(20)))
    assert [resolution.provider for resolution in found] == providers
    with suppress(InvalidError):
        await registry.resolve("none")
    assert {provider.listings for provider in providers} == {1}


async def test_a_listing_that_hangs_is_cut_off() -> None:
    good, slow = ScriptedModel(names=("a",), name="good"), Counting("b", name="slow", seconds=3600)
    registry = Registry([good, slow], {}, listing_seconds=0.01)
    assert (await registry.resolve("a")).provider is good
    assert "did not list its models within 0.01 s" in str((await registry.status())["slow"])


async def test_a_cancelled_caller_leaves_the_fetch_to_the_others() -> None:
    slow = Counting("a", name="slow", seconds=0.02)
    registry = Registry([slow], {})
    first, second = asyncio.create_task(registry.resolve("a")), asyncio.create_task(registry.resolve("a"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).model == "a"
    assert slow.listings == 1


async def test_no_providers_means_no_models() -> None:
    with pytest.raises(InvalidError, match="there are: none"):
        await Registry([], {}).resolve("a")


def test_two_providers_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidError, match="duplicate_provider"):
        Registry([ScriptedModel(), ScriptedModel()], {})


async def test_closing_closes_the_providers() -> None:
    provider = Counting("a", name="p", seconds=3600)
    registry = Registry([provider], {})
    waiting = asyncio.create_task(registry.resolve("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await registry.close()
    assert provider.is_closed
    with pytest.raises(asyncio.CancelledError):
        await waiting


class Informed(ScriptedModel):
    """Knows more of its models than their names."""

    def __init__(self, name: str, **known: ModelFacts) -> None:
        super().__init__(names=tuple(known), name=name)
        self.known = known

    def facts(self, model: str) -> ModelFacts:
        return self.known.get(model, ModelFacts())


def informed() -> Registry:
    local = Informed(
        "local", small=ModelFacts(memory_bytes=100, languages=("en",)), big=ModelFacts(memory_bytes=900, languages=("de",))
    )
    hosted = Informed("hosted", any=ModelFacts(memory_bytes=0, languages=("*",)), silent=ModelFacts())
    down = ScriptedModel(name="down")
    down.listing_error = UnavailableError("connect_failed", "nobody there")
    return Registry([local, hosted, down], {"mine": "small"})


async def test_rows_say_what_is_known_of_their_models() -> None:
    rows = {row.name: row for row in await informed().catalogue()}
    assert rows["small"].facts.memory_bytes == 100
    assert rows["mine"].facts == rows["small"].facts
    assert rows["silent"].facts == rows["*"].facts == ModelFacts()


@pytest.mark.parametrize(
    ("language", "vram", "names"),
    [
        (None, None, ["small", "big", "any", "silent", "*", "mine"]),
        ("en", None, ["small", "any", "mine"]),
        ("en-GB", None, ["small", "any", "mine"]),
        ("DE", None, ["big", "any"]),
        ("fr", None, ["any"]),
        (None, 100, ["small", "any", "mine"]),
        (None, 99, ["any"]),
        ("de", 899, ["any"]),
        ("de", 900, ["big", "any"]),
    ],
)
async def test_a_filter_shows_what_is_known_to_suit(language: str | None, vram: int | None, names: list[str]) -> None:
    assert [row.name for row in await informed().catalogue(language=language, min_vram=vram)] == names


@given(
    st.none() | st.sampled_from(["en", "de", "de-AT", "zh-Hant-TW"]),
    st.none() | st.integers(0, 10),
    st.lists(st.sampled_from(["*", "en", "de", "zh"]), max_size=3),
    st.none() | st.integers(0, 10),
)
def test_a_tighter_filter_never_shows_more(language: str | None, vram: int | None, speaks: list[str], needs: int | None) -> None:
    row = CatalogueRow("m", "p", True, "", ModelFacts(languages=tuple(speaks), memory_bytes=needs))
    assert row.suits(language, vram) == (row.suits(language, None) and row.suits(None, vram))
    if vram is not None and row.suits(None, vram):
        assert needs is not None
        assert row.suits(None, vram + 1)


async def test_what_answered_is_known_by_its_provider() -> None:
    registry = informed()
    assert registry.facts(ModelIdentity(provider="local", model="small")).memory_bytes == 100
    for provider, model in (("local", "any"), ("gone", "small"), ("down", "small")):
        assert registry.facts(ModelIdentity(provider=provider, model=model)) == ModelFacts()


def priced() -> Registry:
    known = Informed(
        "p", cheap=ModelFacts(price=Price(Decimal(1), Decimal(2), "t")), dear=ModelFacts(price=DEAR), free=ModelFacts()
    )
    return Registry([known], {"mine": "cheap"})


DEAR = Price(Decimal(10), Decimal(20), "t", Tier(1000, Decimal(30), Decimal(15)))


def answer(model: str, asked: int | None, said: int = 1000) -> Answer:
    usage = None if asked is None else Usage(input_tokens=asked, output_tokens=said)
    return Answer(content="", finish_reason="stop", model=ModelIdentity(provider="p", model=model), usage=usage)


@pytest.mark.parametrize(
    ("answers", "dollars"),
    [
        ([], "0"),
        ([answer("cheap", 500)], "0.0025"),
        ([answer("cheap", 500), answer("dear", 1000)], "0.0325"),
        ([answer("dear", 1001)], "0.04503"),
        ([answer("cheap", 500), answer("free", 1)], None),
        ([answer("cheap", None)], None),
        ([answer("gone", 1)], None),
    ],
)
async def test_a_bill_is_exact_or_unknown(answers: list[Answer], dollars: str | None) -> None:
    bill = await priced().bill(answers)
    assert (None if bill is None else plain(bill.total)) == dollars


async def test_budgets_reckon_with_the_dearer_rate() -> None:
    assert await priced().prices(["mine", "dear", "free"]) == {
        "mine": budget.Price(input="1", output="2"),
        "dear": budget.Price(input="30", output="20"),
        "free": None,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, (None, None)),
        ({"language": "de-AT"}, ("de-AT", None)),
        ({"min_vram": "8"}, (None, 8 * 2**30)),
        ({"min_vram": "0.5", "language": "en", "other": "x"}, ("en", 2**29)),
    ],
)
def test_a_filter_is_read_from_a_query(query: dict[str, str], found: tuple[str | None, int | None]) -> None:
    assert read_filter(query) == found


@pytest.mark.parametrize(
    "query",
    [
        {"language": ""},
        {"language": "a"},
        {"language": "en_GB"},
        {"min_vram": ""},
        {"min_vram": "-1"},
        {"min_vram": "1e3"},
        {"min_vram": "nan"},
        {"min_vram": "٨"},
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidError, match="bad_filter"):
        read_filter(query)
