"""Trains the default model, one stage a call; every stage can be interrupted and goes on.

  dense    the encoder alone, on the class that covers each patch and the middles of things
  symbols  the decoder alone, on what every patch shows instead of pictures
  map      encoder and projector, towards the words the decoder already understands
  joint    everything, on pictures (and a share of symbols), one to four images a prompt

A checkpoint is one file (torch.save): weights, optimizer, and how far the stage is. It is written
every --save seconds and on SIGTERM; the same command then goes on from it. A stage's length counts
in processor time, so a stopped (SIGSTOP) or crowded-out process loses nothing; on a GPU, which is
taken where there is one, by the clock. See README.md for the stages as they were run.
"""
import argparse
import math
import os
import signal
import time

import torch
from torch import nn

import evaluate
import scenes
from data import BATCH_TOKENS, MIX_DENSE, MIX_PICTURES, MIX_SYMBOLS, Batches
from network import DEVICE, Learner, half_products

WARM_UP = 200           # steps


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("stage", choices=("dense", "symbols", "map", "joint"))
    parser.add_argument("checkpoint", help="file this stage writes, and goes on from")
    parser.add_argument("--start", help="checkpoint of the stage before")
    parser.add_argument("--minutes", type=float, required=True, help="all threads busy")
    parser.add_argument("--sprites", default=os.environ.get("SPRITES"), help="sprite folder")
    parser.add_argument("--rate", type=float, default=1e-3, help="decoder and projector")
    parser.add_argument("--vision-rate", type=float, default=4e-4, help="encoder")
    parser.add_argument("--flat", action="store_true", help="do not let the rates fall to 3%%")
    parser.add_argument("--symbols", type=float, default=0.0,
                        help="joint: share of steps on symbols")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--tokens", type=int, default=BATCH_TOKENS, help="of a batch")
    parser.add_argument("--views", type=int, default=1, help="batches in which a scene comes")
    parser.add_argument("--seed", default="1", help="of the scenes")
    parser.add_argument("--save", type=float, default=60, help="busy seconds between checkpoints")
    parser.add_argument("--tell", type=float, default=60, help="busy seconds between lines")
    parser.add_argument("--judge", type=float, default=200, help="busy seconds between evaluations")
    options = parser.parse_args()
    if not options.sprites:
        parser.error("no sprites: --sprites FOLDER or SPRITES=FOLDER")
    return options


class Stage:
    """What one kind of step trains, on which batches, with which loss."""

    def __init__(self, options, learner):
        self.name, self.learner = options.stage, learner
        model = learner.model
        eyes = [*model.model.vision_tower.parameters(), *learner.heads.parameters()]
        projector = list(model.model.multi_modal_projector.parameters())
        decoder = [*model.model.language_model.parameters(), *learner.symbols.parameters()]
        readers = [*learner.symbols.read_place.parameters(),
                   *learner.symbols.read_centre.parameters()]
        slow, fast = {"dense": (eyes, []), "symbols": ([], decoder),
                      "map": (eyes, projector + readers),
                      "joint": (eyes, projector + decoder)}[self.name]
        self.groups = [{"params": params, "rate": rate} for params, rate in
                       ((slow, options.vision_rate), (fast, options.rate)) if params]

    def loss(self, batch):
        """What is reported, and what is descended"""
        learner, sees = self.learner, len(batch.pixels) > 0
        if sees:
            hidden = learner.see(batch.pixels)
            dense = learner.heads.loss(hidden, batch)
            if self.name == "dense":
                return dense, dense
            vision = learner.project(hidden)
            pull = learner.symbols.pull(vision, batch, learner.embedding)
            if self.name == "map":
                return pull, pull + 0.3 * dense
        else:
            vision = learner.symbols_of(batch)
        said = batch.labels[:, 1:] != -100
        scores = learner.model.lm_head(learner.decode(vision, batch)[:, :-1][said])
        answers = nn.functional.cross_entropy(scores.float(), batch.labels[:, 1:][said])
        return answers, answers + 0.3 * pull + 0.3 * dense if sees else answers


def outlive_stop(_worker):
    """A SIGTERM to the whole process group is for the trainer, which still needs its workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def loader(options, sprites, step, symbols):
    mix = MIX_SYMBOLS if symbols else {"dense": MIX_DENSE, "map": MIX_DENSE}.get(
        options.stage, MIX_PICTURES)
    name = f"train/{options.seed}/{options.stage}/{'symbols' if symbols else 'pictures'}/{step}"
    text_tokens = 32 if options.stage in ("dense", "map") else None
    batches = Batches(name, sprites, mix, not symbols, text_tokens, options.tokens, options.views)
    return iter(torch.utils.data.DataLoader(
        batches, batch_size=None, num_workers=options.workers, prefetch_factor=4,
        pin_memory=DEVICE.type == "cuda", worker_init_fn=outlive_stop))


class Run:
    def __init__(self, options):
        self.options, self.sprites = options, scenes.Sprites(options.sprites)
        self.learner = Learner().to(DEVICE)
        self.stage = Stage(options, self.learner)
        self.optimizer = torch.optim.AdamW(
            [{**group, "lr": group["rate"]} for group in self.stage.groups],
            betas=(0.9, 0.98), weight_decay=0.05, fused=DEVICE.type == "cuda")
        self.step, self.spent, self.finished, self.stopping = 0, 0.0, False, False
        if os.path.exists(options.checkpoint):
            self._restore(torch.load(options.checkpoint, map_location=DEVICE))
        elif options.start:
            self.learner.load_state_dict(evaluate.load(options.start).state_dict())

    def _restore(self, state):
        self.learner.load_state_dict(state["learner"])
        self.step, self.spent, self.finished = state["step"], state["spent"], state["finished"]
        if not self.finished:
            self.optimizer.load_state_dict(state["optimizer"])
            print(f"goes on at step {self.step}, minute {self.spent / 60:.1f}", flush=True)

    def save(self):
        state = {"learner": self.learner.state_dict(), "step": self.step, "spent": self.spent,
                 "finished": self.finished, "stage": self.options.stage}
        if not self.finished:
            state["optimizer"] = self.optimizer.state_dict()
        torch.save(state, self.options.checkpoint + ".part")
        os.replace(self.options.checkpoint + ".part", self.options.checkpoint)

    def set_rates(self):
        done = min(1.0, self.spent / (60 * self.options.minutes))
        falling = 1.0 if self.options.flat else 0.03 + 0.97 * (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * falling * min(1.0, (self.step + 1) / WARM_UP)

    def descend(self, batch):
        self.set_rates()
        with half_products():
            reported, loss = self.stage.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_([p for g in self.stage.groups for p in g["params"]], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return reported.detach()

    def clock(self):
        """Seconds, of all threads or on the wall"""
        if DEVICE.type == "cuda":
            return time.monotonic()
        return time.process_time() / self.options.threads

    def train(self):
        options, names = self.options, {"symbols": 1.0, "joint": self.options.symbols}
        share = names.get(options.stage, 0.0)
        choose = scenes.generator("train", options.seed, "order", self.step)
        sources = {symbols: loader(options, self.sprites, self.step, symbols)
                   for symbols in (True, False) if (share if symbols else 1 - share) > 0}
        smooth, rows, ticked, waited = {}, 0, 0.0, 0.0
        saved = judged = told = self.spent
        while self.spent < 60 * options.minutes and not self.stopping:
            began = self.clock()
            symbols = choose.random() < share
            batch = next(sources[symbols]).to(DEVICE)
            waited += self.clock() - began
            loss = self.descend(batch)
            smooth[symbols] = 0.98 * smooth.get(symbols, loss) + 0.02 * loss
            took = self.clock() - began
            self.spent, ticked = self.spent + took, ticked + took
            self.step, rows = self.step + 1, rows + len(batch.ids)
            if self.spent - told > options.tell:
                told = self.spent
                losses = " ".join(f"{'symbols' if s else 'pictures'} {smooth[s]:.4f}"
                                  for s in sorted(smooth))
                print(f"{self.spent / 60:.1f} min, step {self.step}, {rows / ticked:.1f} rows/s, "
                      f"{waited / ticked:.0%} waiting, loss {losses}", flush=True)
            if self.spent - saved > options.save:
                saved = self.spent
                self.save()
            if self.spent - judged > options.judge:
                judged = self.spent
                self.judge(24)
        self.finished = not self.stopping
        self.save()
        if self.finished:
            self.judge(64)

    def judge(self, count):
        print(evaluate.summary(self.learner, self.sprites, self.options.stage, count), flush=True)


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    run = Run(options)

    def stop(_signal, _frame):
        run.stopping = True
    signal.signal(signal.SIGTERM, stop)
    if not run.finished:
        run.train()


if __name__ == "__main__":
    main()
