"""Which model suits a machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from streamchat.checkpoints.choosing import BUILT_IN, CATALOGUE, choose, listing
from streamchat.checkpoints.machine import Machine, devices_of, this_machine
from streamchat.errors import InputError

SMALL, LARGE = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "Qwen/Qwen3-VL-8B-Instruct"


def machine(gigabytes: float, device: str = "cuda:0") -> Machine:
    return Machine(device=device, title="a GPU", memory_bytes=round(gigabytes * 1e9))


def here(*repos: str) -> Callable[[str], Path | None]:
    return lambda repo: Path(repo) if repo in repos else None


@pytest.mark.parametrize(
    ("where", "best"),
    [
        (machine(16, "cpu"), SMALL),
        (machine(8.5), "HuggingFaceTB/SmolVLM2-2.2B-Instruct"),
        (machine(12.6), "Qwen/Qwen3-VL-4B-Instruct"),
        (machine(25.4), LARGE),
        (machine(150), "Qwen/Qwen3-VL-32B-Instruct"),
    ],
)
def test_the_best_that_fits_is_offered_and_taken_once_it_is_here(where: Machine, best: str) -> None:
    before = choose(where, here())
    assert before.spec == BUILT_IN
    assert before.better is not None
    assert before.better.repo == best
    after = choose(where, here(best))
    assert (after.spec, after.better) == (best, None)
    assert "a GPU" in after.reason


def test_of_those_here_the_best_that_fits_is_taken_and_a_better_one_offered() -> None:
    choice = choose(machine(25), here(SMALL, "Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-32B-Instruct"))
    assert choice.spec == "Qwen/Qwen3-VL-4B-Instruct"
    assert choice.better is not None
    assert choice.better.repo == LARGE


def test_a_model_by_name_only_is_never_taken_by_itself() -> None:
    assert choose(machine(150), here("lmms-lab/LongVA-7B-DPO")).spec == BUILT_IN


def test_a_machine_that_is_too_small_is_refused() -> None:
    choice = choose(machine(2, "cpu"), here(SMALL))
    assert (choice.spec, choice.better) == (BUILT_IN, None)
    assert "no vision-language model suits it" in choice.reason


def test_the_table_says_what_each_needs_and_whether_it_is_here() -> None:
    lines = listing(machine(16, "cpu"), here(SMALL)).splitlines()
    rows = {line.split()[0]: line for line in lines if "/" in line}
    assert set(rows) == {entry.repo for entry in CATALOGUE}
    assert "Apache-2.0" in rows[SMALL]
    assert "downloaded" in rows[SMALL]
    assert "suits this machine" in rows[SMALL]
    assert "24 GB of GPU memory" in rows[LARGE]
    assert "17.6 GB" in rows[LARGE]
    assert "suits" not in rows[LARGE]


def test_of_two_gpus_the_smaller_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [80e9, 24e9]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(name=f"GPU {device.index}", total_memory=sizes[device.index]),
    )
    assert this_machine("cuda:0,cuda:1") == Machine(device="cuda:1", title="GPU 1", memory_bytes=24e9)  # type: ignore[arg-type]
    assert this_machine("cuda").device == "cuda:0"
    assert this_machine().device == "cuda:0"


def test_a_device_that_is_not_here_lists_those_that_are() -> None:
    with pytest.raises(InputError, match=r"no device 'tpu'.*cpu"):
        devices_of("tpu")
    with pytest.raises(InputError, match="at most 2"):
        devices_of("cpu,cpu,cpu")
