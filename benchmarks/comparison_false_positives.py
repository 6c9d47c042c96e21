"""How often do tests find a difference between two methods that do not differ? Simulated cross-validations.

    OMP_NUM_THREADS=1 python benchmarks/comparison_false_positives.py [--simulations 8000] [--seed 0]

Scores are in Dice points (hundredths). The score of method m on case c, of its training r on fold f, is the sum of
    difficulty      of the case and of its group; the same for both methods; standard deviation 10
    preference      this method does better or worse on this case (sd of a difference 3 points) and on this group (2)
    training noise  this training does better or worse on all its cases (sd 0 to 2 points; independent for each
                    method, fold and repeat; in one table only one method's trainings differ, or a few
                    differ a lot (t of 3 degrees of freedom), or hard cases differ more)
    case noise      of this training on this case (sd 3 points for a difference of two trainings)
    training set    this method does better or worse for what it was trained on; folds share three quarters of that
                    (one table only)
and the true difference, 0 or 1 or 2 points. Hard cases vary more: preference and case noise are multiplied by a gamma
variable of mean 1 and variance 0.5. Five folds of nearly equal size, groups whole. A test is wrong if p < 0.05, or if
the bootstrap's 95 % interval leaves out 0, where there is no difference. Tables as Markdown, with Wilson intervals.
Ends with 1 if a headline test is above 5 % (lower bound of 99.9 %) in a table without effects of training sets.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import scipy
from scipy import stats

from nnunet_ext.evaluation.statistics.bootstrap import group_sums, mean_interval
from nnunet_ext.evaluation.statistics.paired import paired_t, wilcoxon_p
from nnunet_ext.evaluation.statistics.training_noise import corrected_t, repeated_t

FOLDS, REPEATS, AT_ONCE, NOMINAL = 5, 5, 500, 0.05
DIFFICULTY, PREFERENCE, GROUP_PREFERENCE, CASE_NOISE = 10.0, 3.0, 2.0, 3.0
POWER = "A true difference: how often it is found"
CERTAIN = 0.999  # of many rows, some are above by chance
KINDS = ("one method's only", "heavy tails", "hard cases more")
HEADLINES = ("corrected t", "repeats, 3", "repeats, 5")


@dataclass(frozen=True)
class World:
    """What is simulated; standard deviations in points."""

    cases: int
    training: float
    largest_group: int = 1  # groups of 1, 2, ... up to this many cases in turn
    training_set: float = 0.0
    difference: float = 0.0
    noise: str = "normal"  # or one of KINDS


def layout(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Group and fold of each case; the next group goes to the smallest fold."""
    sizes = np.resize(np.arange(1, world.largest_group + 1), world.cases)
    groups = np.repeat(np.arange(world.cases), sizes)[: world.cases]
    filled, fold_of = np.zeros(FOLDS, int), []
    for size in np.bincount(groups):
        fold_of.append(int(filled.argmin()))
        filled[fold_of[-1]] += size
    return groups, np.array(fold_of)[groups]


def simulate(world: World, groups: np.ndarray, folds: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return scores `(count, method, repeat, case)`."""
    n, number = world.cases, groups.max() + 1
    half = np.sqrt(0.5)  # of the variance of a difference is from each method
    hard = rng.gamma(2, 0.5, (count, 1, 1, n))
    common = rng.normal(0, DIFFICULTY, (count, 1, 1, n)) + rng.normal(0, DIFFICULTY, (count, 1, 1, number))[..., groups]
    likes = rng.normal(0, PREFERENCE * half, (count, 2, 1, n)) * hard
    if world.largest_group > 1:
        likes += rng.normal(0, GROUP_PREFERENCE * half, (count, 2, 1, number))[..., groups]
    training = training_noise(world, count, rng)
    blocks = rng.normal(0, world.training_set, (count, 2, 1, FOLDS))
    training += (blocks.sum(-1, keepdims=True) - blocks) / np.sqrt(FOLDS - 1)  # all blocks but the one tested
    noise = rng.normal(0, CASE_NOISE * half, (count, 2, REPEATS, n)) * hard
    shifts = training[..., folds] * (hard if world.noise == "hard cases more" else 1)
    scores = common + likes + shifts + noise
    scores[:, 0] += world.difference
    return scores


def training_noise(world: World, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return what each training gives to all its cases, `(count, method, repeat, fold)`."""
    shape = (count, 2, REPEATS, FOLDS)
    if world.noise == "heavy tails":
        return world.training / np.sqrt(3) * rng.standard_t(3, shape)  # the t's own standard deviation is sqrt(3)
    shifts = rng.normal(0, world.training, shape)
    if world.noise == "one method's only":
        shifts[:, 1] = 0
    return shifts


def findings(scores: np.ndarray, groups: np.ndarray, folds: np.ndarray) -> dict[str, np.ndarray]:
    """Say which simulations each test calls a difference; `(count,)` each."""
    sizes = np.bincount(folds)
    fold_means = group_sums(scores, folds) / sizes  # (count, method, repeat, fold)
    once, often = scores[:, 0, 0] - scores[:, 1, 0], (scores[:, 0] - scores[:, 1]).mean(1)
    low, high = mean_interval(once, groups)
    overall = scores.mean(-1)
    p = {
        "Wilcoxon": wilcoxon_p(once),
        "paired t": paired_t(once).p,
        "corrected t": corrected_t(fold_means[:, 0, 0] - fold_means[:, 1, 0], sizes).p,
        "Wilcoxon, mean of 5": wilcoxon_p(often),
        "Welch, 5": stats.ttest_ind(overall[:, 0], overall[:, 1], axis=-1, equal_var=False).pvalue,
    }
    for count in (3, 5):
        runs = tuple([fold_means[:, m, :count, f] for f in range(FOLDS)] for m in (0, 1))
        mean = (scores[:, 0, :count] - scores[:, 1, :count]).mean(1)
        p[f"repeats, {count}"] = repeated_t(mean, groups, sizes, runs).p
    return {name: value < NOMINAL for name, value in p.items()} | {"bootstrap": (low > 0) | (high < 0)}


def rates(world: World, simulations: int, seed: int) -> dict[str, int]:
    """Count the simulations that each test calls a difference."""
    groups, folds = layout(world)
    kind = KINDS.index(world.noise) + 1 if world.noise in KINDS else 0
    numbers = [kind, world.cases, world.largest_group, world.training, world.training_set, world.difference]
    rng = np.random.default_rng([seed, *(round(1000 * number) for number in numbers)])
    found: dict[str, int] = {}
    for start in range(0, simulations, AT_ONCE):
        scores = simulate(world, groups, folds, min(AT_ONCE, simulations - start), rng)
        for name, wrong in findings(scores, groups, folds).items():
            found[name] = found.get(name, 0) + int(wrong.sum())
    return found


def shown(found: int, simulations: int) -> str:
    ci = stats.binomtest(found, simulations).proportion_ci(method="wilson")
    return f"{100 * found / simulations:.1f} ({100 * ci.low:.1f} to {100 * ci.high:.1f})"


def first_cells(world: World, kind_of_table: str) -> list[str]:
    noise = f"{world.training:g}" + (f", {world.noise}" if world.noise != "normal" else "")
    noise += f", and {world.training_set:g} of training sets" if world.training_set else ""
    cells = [str(world.cases), str(layout(world)[0].max() + 1), noise]
    return [*cells, f"{world.difference:g}"] if kind_of_table == POWER else cells


def table(title: str, worlds: list[World], parts: list[tuple[str, ...]], simulations: int, seed: int) -> list[float]:
    """Print a table for each part of the tests; the lower bounds of the headline tests."""
    found = [rates(world, simulations, seed) for world in worlds]
    head = ["cases", "groups", "training noise", "difference"][: len(first_cells(worlds[0], title))]
    print(f"\n{title}")
    for columns in parts:
        print(f"\n| {' | '.join([*head, *columns])} |\n|{'---|' * (len(head) + len(columns))}")
        for world, counts in zip(worlds, found, strict=True):
            cells = [*first_cells(world, title), *(shown(counts[name], simulations) for name in columns)]
            print(f"| {' | '.join(cells)} |", flush=True)
    return [
        stats.binomtest(counts[name], simulations).proportion_ci(CERTAIN, "wilson").low
        for counts in found
        for name in HEADLINES
    ]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--simulations", type=int, default=8000)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    begin, both = time.perf_counter(), (args.simulations, args.seed)
    print(f"{args.simulations} simulations a row. numpy {np.__version__}, scipy {scipy.__version__}. Per cent.")
    once = ("Wilcoxon", "paired t", "bootstrap", "corrected t")
    parts = [once, ("Wilcoxon, mean of 5", "Welch, 5", "repeats, 3", "repeats, 5")]
    alone = [World(n, sd) for n in (40, 100, 400) for sd in (0, 0.5, 1, 2)]
    grouped = [World(n, sd, largest_group=7) for n in (40, 100, 400) for sd in (0, 0.5, 1, 2)]
    bounds = table("No difference, every case its own group", alone, parts, *both)
    bounds += table("No difference, groups of 1 to 7 cases", grouped, parts, *both)
    kinds = [World(100, sd, noise=kind) for kind in KINDS for sd in (1, 2)]
    bounds += table("No difference, other kinds of training noise", kinds, parts, *both)
    sets = [World(100, 1, training_set=sd) for sd in (0.5, 1, 2)]
    table("No difference, training sets that suit one method", sets, parts, *both)
    power = [replace(w, difference=d) for w in alone if w.training for d in (1.0, 2.0)]
    table(POWER, power, [HEADLINES], *both)
    print(f"\n{time.perf_counter() - begin:.0f} s")
    return int(max(bounds) > NOMINAL)


if __name__ == "__main__":
    sys.exit(main())
