"""The verdict on a machine: right on every published measurement and every profile, and plain on bad input."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from gptoss_lab.errors import LabError
from gptoss_lab.facts.files import FILES, SMALL
from gptoss_lab.facts.fit import CONSTANTS
from gptoss_lab.hardware import evidence, expectation, memory
from gptoss_lab.hardware.fit import default_context, fit, with_reply
from gptoss_lab.hardware.machine import Gpu, Machine
from gptoss_lab.hardware.models import model_file
from gptoss_lab.hardware.profiles import machine_of, profiles
from gptoss_lab.text import LANGUAGES
from gptoss_lab.tiny import MODEL_PATH

MEMORY, SPEED = evidence.rows("memory"), evidence.rows("speed")
B20, B120 = "gpt-oss:20b", "gpt-oss:120b"


def card(gib: float, bandwidth: float = 504, compute: tuple[int, int] = (8, 9), free: float | None = None) -> Gpu:
    return Gpu("NVIDIA card", "nvidia", gib, gib * 0.95 if free is None else free, bandwidth, compute)


def desktop(ram: float = 64, *gpus: Gpu, free: float | None = None, system: str = "Linux", **more: Any) -> Machine:
    return Machine("desktop", system, ram, ram - 6 if free is None else free, 83, gpus, **more)


def mac(ram: float, pool: float, bandwidth: float) -> Machine:
    gpu = Gpu("Apple", "apple", pool, pool, bandwidth, unified=True)
    return Machine("Mac", "Darwin", ram, ram - 4, bandwidth, (gpu,))


# --- published measurements -------------------------------------------------------------------------------------------


def named(row: Mapping[str, str]) -> str:
    return "-".join((row["model"], row["engine"], row["ctx"], row["num_parallel"], row["reported_quantity"]))[:90]


@pytest.mark.parametrize("row", MEMORY, ids=named)
def test_memory_of_every_row(row: Mapping[str, str]) -> None:
    error = evidence.memory_error(row)
    if error is None:
        assert any(word in row["reported_quantity"] for word in UNPREDICTED) or "MLX" in row["engine"]
    else:
        rounded = row["comparison"] == "trunc" or "guide" in row["hardware"]
        assert abs(error) <= (0.04 if rounded else 0.02)


# What a report leaves out: a layout no formula is known for, or a part of several GPUs.
UNPREDICTED = ("estimator", "required", "+ ctx", "both GPUs", "host copies", "btop", "cpu-moe")


def test_few_rows_are_beyond_prediction() -> None:
    assert sum(evidence.memory_error(row) is not None for row in MEMORY) >= 54


def test_most_full_gpu_runs_are_within_the_range_and_machines_near() -> None:
    misses = defaultdict(list)
    for row in SPEED:
        predicted = evidence.predict_speed(row)
        if row["mode"] in ("full_gpu", "unified") and predicted:
            misses[row["hardware"]].append(predicted / float(row["tg_tok_s"]))
    ratios = [ratio for found in misses.values() for ratio in found]
    assert len(ratios) >= 80
    assert sum(1 / 1.35 <= ratio <= 1.35 for ratio in ratios) >= 0.85 * len(ratios)
    assert median(median(abs(ratio - 1) for ratio in found) for found in misses.values()) <= 0.15


SLOW = [row for row in SPEED if row["mode"] in ("split", "cpu")]


@pytest.mark.parametrize("row", SLOW, ids=lambda row: row["hardware"])
def test_split_and_processor_runs_are_within_the_range(row: Mapping[str, str]) -> None:
    predicted = evidence.predict_speed(row)
    if predicted is not None:
        assert 1 / 1.6 <= predicted / float(row["tg_tok_s"]) <= 1.6


# --- the thirteen profiles --------------------------------------------------------------------------------------------

PROFILES = profiles()


@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row["machine"])
@pytest.mark.parametrize("size", ["20b", "120b"])
def test_placement_on_every_profile(row: Mapping[str, str], size: str) -> None:
    verdict = fit(machine_of(row), f"gpt-oss:{size}")
    assert verdict.placement == row[f"placement_{size}"]
    assert verdict.default_context == int(row["default_context"])
    assert verdict.tight == bool(int(row.get(f"tight_{size}") or 0))
    if blocks := row[f"blocks_{size}"]:
        low, high = (int(part) for part in (blocks.split("-") * 2)[:2])
        assert low <= verdict.blocks_on_gpu <= high


@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row["machine"])
@pytest.mark.parametrize("size", ["20b", "120b"])
def test_speed_on_every_profile_overlaps_what_was_found(row: Mapping[str, str], size: str) -> None:
    verdict = fit(machine_of(row), f"gpt-oss:{size}")
    if span := row[f"range_{size}"]:
        low, high = map(float, span.split("-"))
        assert verdict.speed and low <= verdict.speed.middle_tok_s <= high
    else:
        assert verdict.speed is None


# --- further machines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "model", "placement"),
    [
        (desktop(32, card(15.9, 448), free=24), B20, "gpu"),
        (mac(24, 16, 100), B20, "gpu"),
        (mac(48, 36, 400), B120, "no"),
        (mac(128, 96, 546), B120, "gpu"),
        (desktop(32, card(11.9, 360, (8, 6)), free=24), B20, "split"),
        (desktop(64, card(23.9, 1008)), B120, "split"),
        (desktop(128, card(47.4, 864)), B20, "gpu"),
        (desktop(128, card(47.4, 864)), B120, "split"),
        (desktop(64, *(card(11.2, 320, (6, 1)),) * 5), B120, "split"),
        (desktop(16.0, free=14.5), B20, "cpu"),
        (desktop(96, free=88), B120, "cpu"),
        (desktop(8, card(15.9, 448), free=7), B20, "gpu"),
        (desktop(32, card(1.9, 100), free=26), B20, "cpu"),
    ],
)  # fmt: skip
def test_placement(machine: Machine, model: str, placement: str) -> None:
    assert fit(machine, model).placement == placement


def test_a_context_that_is_too_large_is_no_verdict_on_the_model() -> None:
    machine = mac(64, 48, 400)
    whole, small = fit(machine, B120), fit(machine, B120, 4_096)
    assert whole.context == 131_072 and whole.placement == "no"
    assert any("num_ctx" in line for line in whole.advice)
    assert small.placement == "split" and small.tight


def test_a_gpu_that_ollama_leaves_alone_does_not_count() -> None:
    idle = replace(card(16, 90), unused="integrated")
    assert fit(desktop(32, idle)).placement == "cpu"


def test_largest_context_is_the_edge() -> None:
    machine = desktop(32, card(16, 448, free=15.2), free=24)
    edge = fit(machine, B20).largest_context_on_gpu
    assert 64_000 <= edge < 131_072
    assert fit(machine, B20, edge).placement == "gpu" and fit(machine, B20, edge + 1_024).placement == "split"
    assert fit(machine, B20, kv_type="q8_0").largest_context_on_gpu > edge
    assert fit(machine, B20, parallel=4).largest_context_on_gpu < edge / 3


@pytest.mark.parametrize(("gib", "tokens"), [(0, 4_096), (22.9, 4_096), (23, 32_768), (46.9, 32_768), (47, 131_072)])
def test_default_context(gib: float, tokens: int) -> None:
    machine = desktop(64, card(gib)) if gib else desktop()
    assert default_context(machine) == tokens == fit(machine).context


def test_ollama_before_the_tiers_took_another_context() -> None:
    machine = desktop(64, card(80))
    assert default_context(machine, B20, "0.15.4") == 8_192
    assert default_context(machine, B20, "0.15.5") == 131_072


@pytest.mark.parametrize(("context", "gib"), [(4_096, 12.95), (8_192, 13.04), (32_768, 13.63), (131_072, 15.97)])
def test_need_at_the_smallest_batch(context: int, gib: float) -> None:
    need = memory.need(FILES[B20, "bf16"], context, "f16", 1, memory.NEW, 512)
    assert need.total_gib == pytest.approx(gib, abs=0.01)


def test_old_ollama_places_worse_and_is_told_to_update() -> None:
    machine = desktop(32, card(11.99, 504, free=10.7), free=26)
    new, old = fit(machine, B20), fit(machine, B20, ollama_version="0.12.3")
    assert new.speed and old.speed and old.speed.middle_tok_s < new.speed.middle_tok_s / 2
    assert any("Ollama" in line for line in old.advice) and not new.advice


def test_a_sixteen_gib_card_is_told_of_its_context() -> None:
    verdict = fit(desktop(32, card(16, 448, free=15.2), free=24), B20)
    assert verdict.context == 4_096 and "32768" in " ".join(verdict.advice)


def test_unknown_memory_is_no_memory_but_a_gpu_still_counts() -> None:
    blind = replace(desktop(64), ram_total_gib=None, ram_free_gib=None)
    assert fit(blind).placement == "no"
    assert fit(replace(blind, gpus=(card(24),))).placement == "gpu"


def test_unknown_bandwidth_gives_no_speed() -> None:
    verdict = fit(desktop(64, replace(card(24), bandwidth_gb_s=None)))
    assert verdict.placement == "gpu" and verdict.speed is None and verdict.sentence


def test_a_virtual_machine_is_never_called_calibrated() -> None:
    plain, virtual = desktop(64, card(24, 1008)), desktop(64, card(24, 1008), traits=("vm",))
    assert fit(plain).speed.confidence == "calibrated"  # type: ignore[union-attr]
    assert fit(virtual).speed.confidence == "estimate"  # type: ignore[union-attr]


def test_an_old_card_of_unknown_capability_is_known_by_name() -> None:
    assert expectation.chip(replace(card(24), name="NVIDIA GeForce RTX 3090", compute=None)) == "nvidia_old"
    assert expectation.chip(replace(card(24), name="NVIDIA GeForce RTX 4090", compute=None)) == "nvidia"


def test_small_models_fit_eight_gigabytes() -> None:
    laptop = desktop(7.7, free=5.2)
    assert len(SMALL) == 3 and all(fit(laptop, name, 4_096).placement == "cpu" for name in SMALL)
    advice = " ".join(fit(laptop, B20).advice)
    assert all(name in advice for name in SMALL)


def test_the_memory_shown_by_ps_leaves_the_cache_out() -> None:
    file = FILES[B20, "bf16"]
    shown = memory.shown_by_ps(file, 65_536, "f16", 3, memory.NEW, 512)
    assert shown * memory.MIB / 1e9 == pytest.approx(12.84, abs=0.01)


def test_a_disk_that_is_too_small_is_said() -> None:
    verdict = fit(desktop(64, card(24), disk_free_gb=5.0, models_folder="/models"))
    assert any("/models" in line for line in verdict.advice)


# --- any GGUF file ----------------------------------------------------------------------------------------------------


def test_a_gguf_file_is_read_from_its_header() -> None:
    file = model_file(MODEL_PATH)
    assert file.experts > file.experts_used > 1 and 0 < file.sliding_layers < file.layers
    assert file.total_bytes < MODEL_PATH.stat().st_size < 1.2 * file.total_bytes
    verdict = fit(desktop(4, free=2), MODEL_PATH)
    assert verdict.placement == "cpu" and verdict.on_host.total_gib < 0.2


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    "asked",
    [
        {"model": "gpt-oss:7b"}, {"model": "missing.gguf"}, {"model": ""}, {"context": -1}, {"context": 0},
        {"context": 200_000}, {"context": 4096.5}, {"context": True}, {"kv_type": "f8"}, {"parallel": 0},
        {"ollama_version": "new"},
    ],
)  # fmt: skip
def test_bad_input_is_a_sentence(asked: dict[str, Any], lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", lang)
    with pytest.raises(LabError) as caught:
        fit(desktop(), **asked)
    assert caught.value.what and caught.value.next_step


def test_a_file_that_is_no_model_or_is_cut_is_a_sentence(tmp_path: Path) -> None:
    whole = MODEL_PATH.read_bytes()
    for name, content in {"text.gguf": b"hello", "cut.gguf": whole[:2_000], "short.gguf": whole[:-9_000]}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(LabError) as caught:
            fit(desktop(), path)
        assert caught.value.next_step


# --- a real reply -----------------------------------------------------------------------------------------------------


def test_a_reply_replaces_the_estimate() -> None:
    verdict = fit(desktop(64, card(24, 1008)))
    told = with_reply(verdict, {"eval_count": 200, "eval_duration": 2_000_000_000})
    assert told.speed and verdict.speed and told.speed.middle_tok_s == 100 and told.speed.confidence == "measured"
    assert told.error == pytest.approx(verdict.speed.middle_tok_s / 100 - 1)
    assert "100.0" in told.sentence and told.sentence != verdict.sentence


def test_a_reply_of_the_client_is_understood() -> None:
    from ollama import ChatResponse

    reply = ChatResponse(message={"role": "assistant"}, eval_count=50, eval_duration=1_000_000_000)
    assert with_reply(fit(desktop()), reply).speed.middle_tok_s == 50  # type: ignore[union-attr]


def test_a_reply_without_counters_is_a_sentence() -> None:
    for reply in ({}, {"eval_count": 0, "eval_duration": 5}, "text"):
        with pytest.raises(LabError):
            with_reply(fit(desktop()), reply)


# --- the facts behind it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONSTANTS)
def test_every_constant_has_a_source(name: str) -> None:
    found = CONSTANTS[name]
    shipped = files("gptoss_lab").joinpath(*Path(found.source).parts[1:])
    assert found.source.startswith("https://") or shipped.is_file()
    assert found.as_of and found.value


@pytest.mark.parametrize("name", ["memory", "speed", "profiles"])
def test_the_measurements_are_shipped_raw(name: str) -> None:
    columns = set(evidence.rows(name)[0])
    assert not {"predicted_MiB", "error_pct"} & columns
