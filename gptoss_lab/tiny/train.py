"""Trains the practice model: `python -m gptoss_lab.tiny.train --out runs/practice --minutes 60 --export practice.gguf`.

One CPU thread, about 2 GB of memory. The run can be stopped and taken up again with `--resume`; the learning rate falls
over the second half of the minutes. It knows the course only through `course.Teacher`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_lab.errors import LabError
from gptoss_lab.tiny import course

if TYPE_CHECKING:
    from gptoss_lab.tiny.model import GptOss

SAVE_EVERY_S = 120.0
WARM_UP_STEPS = 100
BALANCE_WEIGHT = 0.01


@dataclass(frozen=True)
class Plan:
    """How to train: minutes on the clock, peak learning rate, tokens per step and per row."""

    minutes: float = 60.0
    learning_rate: float = 2.5e-3
    tokens_per_step: int = 2048
    row_tokens: int = 512
    falling_from: float = 0.45

    def rate(self, done: float, step: int) -> float:
        """Return the learning rate after a share `done` of the time."""
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        falling = 1.0 if done < self.falling_from else max(0.02, (1 - done) / (1 - self.falling_from))
        return self.learning_rate * warm * falling


@dataclass
class State:
    """What a run needs to go on where it stopped."""

    step: int = 0
    seconds: float = 0.0
    epoch: int = 0


class Run:
    """One training run in one folder: model, tokenizer, optimiser and progress."""

    def __init__(self, folder: Path, plan: Plan, sizes: dict[str, int], resume: bool) -> None:
        import torch
        from tokenizers import Tokenizer

        from gptoss_lab.tiny import bpe
        from gptoss_lab.tiny.model import GptOss, Size

        self.folder, self.plan, self.state = folder, plan, State()
        saved: dict[str, Any] | None = None
        if resume:
            saved = _read_checkpoint(folder)
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            self.tokenizer = bpe.learn(course.texts(), sizes.pop("vocabulary", Size.vocabulary))
        size = Size(**saved["size"]) if saved else Size(vocabulary=self.tokenizer.get_vocab_size(), **sizes)
        torch.manual_seed(0)
        self.model = GptOss(size).train()
        self.optimiser = _optimiser(self.model, plan)
        if saved:
            self._restore(saved)
        else:
            self.model.wire_look_back()
            self.model.wire_induction()
            folder.mkdir(parents=True, exist_ok=True)
            self.tokenizer.save(str(folder / "tokenizer.json"))

    def _restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.state = State(**saved["state"])

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is complete."""
        import torch

        saved = {"size": asdict(self.model.size), "model": self.model.state_dict(), "state": asdict(self.state)}
        saved["optimiser"] = self.optimiser.state_dict()
        torch.save(saved, self.folder / "checkpoint.new")
        (self.folder / "checkpoint.new").replace(self.folder / "checkpoint.pt")

    def train(self) -> None:
        """Train until the minutes are over."""
        total, active = self.model.weights()
        print(
            f"{total / 1e6:.2f} M weights, {active / 1e6:.2f} M per token; {self.plan.minutes:.0f} minutes", flush=True
        )
        limit_s = self.plan.minutes * 60
        saved_at_s = self.state.seconds
        while self.state.seconds < limit_s:
            self._epoch(limit_s)
            if self.state.seconds - saved_at_s > SAVE_EVERY_S or self.state.seconds >= limit_s:
                self.save()
                saved_at_s = self.state.seconds

    def _epoch(self, limit_s: float) -> None:
        from gptoss_lab.tiny.lessons import batches, pack

        rng = random.Random(self.state.epoch)
        rows = pack(self.tokenizer, course.Teacher(self.state.epoch).epoch(), rng, self.plan.row_tokens)
        losses, tokens, started_s = [], 0, self.state.seconds
        for batch in batches(rows, self.plan.tokens_per_step, rng):
            if self.state.seconds >= limit_s:
                break
            begun = time.monotonic()
            losses.append(self._step(batch, self.state.seconds / limit_s))
            tokens += sum(len(row.ids) for row in batch)
            self.state.step += 1
            self.state.seconds += time.monotonic() - begun
        self.state.epoch += 1
        spent_s = max(self.state.seconds - started_s, 1e-9)
        print(
            f"{self.state.seconds / 60:6.1f} min  epoch {self.state.epoch:3d}  step {self.state.step:5d}  "
            f"loss {sum(losses) / max(len(losses), 1):.4f}  {tokens / spent_s:.0f} tokens/s",
            flush=True,
        )

    def _step(self, batch: list[Any], done: float) -> float:
        import torch
        import torch.nn.functional as F

        from gptoss_lab.tiny.lessons import NO_TARGET, collate
        from gptoss_lab.tiny.model import visible

        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(done, self.state.step)
        ids, targets, segments, positions = collate(batch)
        wanted = (targets != NO_TARGET).view(-1)
        hidden = self.model.hidden(ids, positions, visible(positions, segments, self.model.size.window))
        loss = F.cross_entropy(F.linear(hidden[wanted], self.model.head), targets.view(-1)[wanted])
        self.optimiser.zero_grad()
        (loss + BALANCE_WEIGHT * self.model.balance).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return float(loss.detach())


def _optimiser(model: GptOss, plan: Plan) -> Any:
    import torch

    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)


def _read_checkpoint(folder: Path) -> dict[str, Any]:
    import torch

    path = folder / "checkpoint.pt"
    if not path.exists():
        raise LabError(
            f"There is no checkpoint in {folder}.", "Start without --resume, or name the folder of an earlier run."
        )
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    return saved


def _prepare_torch() -> None:
    """Load torch with one thread, and keep freed memory: page faults cost more than the arithmetic."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers  # noqa: F401
        import torch
    except ImportError as error:
        raise LabError(
            f"Training needs a package that is missing: {error.name}.",
            'Install the extra: pip install "gptoss-lab[train]"',
        ) from error
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-3, 32 << 20)
            libc.mallopt(-1, 2000 << 20)
        except OSError:
            return


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gptoss_lab.tiny.train", description="Train the practice model.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the tokenizer")
    parser.add_argument("--minutes", type=float, default=60.0, help="training time, including earlier parts of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the checkpoint in --out")
    parser.add_argument("--export", type=Path, help="write this GGUF file when done")
    for name in ("vocabulary", "hidden", "layers", "experts", "expert_width"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; return the exit code."""
    args = _arguments(argv)
    try:
        _prepare_torch()
        chosen = {name: getattr(args, name) for name in ("vocabulary", "hidden", "layers", "experts", "expert_width")}
        sizes = {name: value for name, value in chosen.items() if value}
        run = Run(args.out, Plan(minutes=args.minutes), sizes, args.resume)
        run.train()
        if args.export:
            from gptoss_lab.tiny.export import write_gguf

            write_gguf(args.export, run.model.size, run.model.reference_state(), run.folder / "tokenizer.json")
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
