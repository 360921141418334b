"""The loops of submodular selection: a symmetric graph of similarities, and greedy choice over it.

A row holds the examples that one example is similar to, itself first. Similarities are multiples of 2⁻²⁴, so that
their sums are exact in float64 in any order: equal gains are equal, and lazy and naive greedy give the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paredown.compiled import compiled

COVERED, SATURATED, CUT = 0, 1, 2
"""What a gain is a sum of: what a row brings beyond the best so far; up to what is missing; less what is like it."""
LAZY, NAIVE, SAMPLED = 0, 1, 2
"""Which gains are computed before each choice: those that could be the largest; all; those of a sample."""


@dataclass(frozen=True, eq=False)
class Similarities:
    """Who is similar to whom, and how much.

    Args:
        starts: where each row begins, int64 (N + 1,).
        columns: the other example, (E,); empty where every row holds all examples in order.
        values: the similarity, a multiple of 2⁻²⁴ in [0, 1], float32 (E,).
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def totals(self) -> np.ndarray:
        """Gives the sum of each row, float64 (N,)."""
        if not len(self.columns):
            every: np.ndarray = self.values.reshape(len(self), len(self)).sum(axis=1, dtype=np.float64)
            return every
        totals: np.ndarray = np.add.reduceat(self.values, self.starts[:-1], dtype=np.float64)
        return totals


@compiled
def symmetric(
    neighbors: np.ndarray, similar: np.ndarray, starts: np.ndarray, columns: np.ndarray, values: np.ndarray
) -> int:
    """Writes the rows of the graph in which an edge of either direction joins both; the larger similarity counts.

    Args:
        neighbors: positions (N, k), -1 where there is none; an example that names itself is passed over.
        similar: their similarity, (N, k).
        starts: to be written, (N + 1,).
        columns, values: to be written, (N + 2·N·k,).

    Returns:
        How many entries were written.
    """
    size, width = neighbors.shape
    begin = np.zeros(size + 1, np.int64)
    for row in range(size):
        for column in range(width):
            other = neighbors[row, column]
            if other >= 0:
                begin[other + 1] += 1
    for row in range(size):
        begin[row + 1] += begin[row]
    source, weight = np.empty(begin[size], np.int32), np.empty(begin[size], np.float32)
    cursor = begin[:size].copy()
    for row in range(size):
        for column in range(width):
            other = neighbors[row, column]
            if other >= 0:
                source[cursor[other]] = row
                weight[cursor[other]] = similar[row, column]
                cursor[other] += 1
    place = np.full(size, -1, np.int64)  # where an example stands in the row that is written
    end = 0
    for row in range(size):
        starts[row] = end
        columns[end], values[end], place[row] = row, 1.0, end
        end += 1
        for edge in range(width + begin[row + 1] - begin[row]):
            if edge < width:
                other, value = neighbors[row, edge], similar[row, edge]
            else:
                other, value = source[begin[row] + edge - width], weight[begin[row] + edge - width]
            if other < 0:
                continue
            if place[other] >= starts[row]:
                values[place[other]] = max(values[place[other]], value)
            else:
                columns[end], values[end], place[other] = other, value, end
                end += 1
    starts[size] = end
    return end


@compiled
def choose(
    starts: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    dense: bool,
    rule: int,
    penalty: float,
    totals: np.ndarray,
    state: np.ndarray,
    way: int,
    draws: np.ndarray,
    sample: int,
    rest: np.ndarray,
    gains: np.ndarray,
    chosen: np.ndarray,
    gained: np.ndarray,
    done: int,
) -> int:
    """Chooses greedily, of equal gains the lowest place, until enough are chosen or no gain is left.

    Args:
        starts, columns, values, dense: of `Similarities`; dense where `columns` is empty.
        rule: what a gain is.
        penalty: of `CUT`, the weight of what is like the chosen.
        totals: sum of each row.
        state: of each example, the similarity to the nearest chosen; or what is missing to saturation; or the sum
            of the similarities to the chosen. It is brought up to date.
        way: which gains are computed.
        draws: numbers in [0, 1) for `SAMPLED`, `sample` for each choice.
        sample: how many are drawn for each choice.
        rest: the places that are left, of which the lazy way makes a heap: in descending order of `gains`.
        gains: of each example, no less than its gain now.
        chosen, gained: to be written from `done` on: the places and their gains.
        done: how many are chosen.

    Returns:
        How many are chosen now.
    """
    left = len(rest)
    fresh = np.full(len(gains), -1, np.int64)  # at which choice a gain was computed
    while done < len(chosen) and left > 0:
        first, last = 0, left
        if way == LAZY:
            # The root may have become smaller: move it to where it belongs.
            last = 1
            node, at = rest[0], 0
            while 2 * at + 1 < left:
                below = 2 * at + 1
                one = rest[below]
                if below + 1 < left:
                    other = rest[below + 1]
                    if gains[other] > gains[one] or (gains[other] == gains[one] and other < one):
                        below, one = below + 1, other
                if gains[node] > gains[one] or (gains[node] == gains[one] and node < one):
                    break
                rest[at] = one
                at = below
            rest[at] = node
        elif way == SAMPLED:
            last = min(sample, left)
            for place in range(last):
                drawn = place + int(draws[done * sample + place] * (left - place))
                rest[place], rest[drawn] = rest[drawn], rest[place]
        best = first
        stale = way == LAZY and fresh[rest[0]] != done
        if way != LAZY or stale:
            for place in range(first, last):
                row = rest[place]
                gain = np.float64(0.0)
                if rule == CUT:
                    gain = totals[row] - penalty * (2.0 * state[row] + 1.0)
                else:
                    for edge in range(starts[row], starts[row + 1]):
                        column = edge - starts[row] if dense else columns[edge]
                        if rule == COVERED:
                            gain += max(0.0, values[edge] - state[column])
                        else:
                            gain += min(values[edge], state[column])
                gains[row], fresh[row] = gain, done
                if gain > gains[rest[best]] or (gain == gains[rest[best]] and row < rest[best]):
                    best = place
        if stale:
            continue
        row = rest[best]
        if rule != CUT and way != SAMPLED and gains[row] <= 0.0:
            return done
        chosen[done], gained[done] = row, gains[row]
        done += 1
        for edge in range(starts[row], starts[row + 1]):
            column = edge - starts[row] if dense else columns[edge]
            if rule == COVERED:
                state[column] = max(state[column], values[edge])
            elif rule == SATURATED:
                state[column] -= min(values[edge], state[column])
            else:
                state[column] += values[edge]
        left -= 1
        rest[best] = rest[left]
    return done
