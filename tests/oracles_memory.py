"""The rules with memory a second time: naive loops over rounds, from the definitions alone.

Each takes a list of rounds, a dict {node: row} each, and f, and returns the list of outputs.
"""

import math

import numpy as np

from tests.oracles import average, distance, monna


def cc(rounds, f, radius=1.0, steps=3):
    out, v = [], None
    for rows in rounds:
        x = list(rows.values())
        v = np.zeros(len(x[0])) if v is None else v
        for _ in range(steps):
            pulls = []
            for row in x:
                gap = np.linalg.norm(row - v)
                pulls.append((row - v) * (1.0 if gap <= radius else radius / gap))
            v = v + average(pulls)
        out.append(v)
    return out


def monna_rounds(rounds, f, trusted=0):
    node, out = list(rounds[0])[trusted], []
    for rows in rounds:
        x = list(rows.values())
        out.append(monna(x, f, list(rows).index(node)) if node in rows else np.zeros(len(x[0])))
    return out


def centre(points):
    """The key with the least distance that covers more than half of the points."""
    need = len(points) // 2 + 1
    reach = {
        key: sorted(distance(point, other) for other in points.values())[need - 1]
        for key, point in points.items()
    }
    best = min(reach, key=reach.get)
    return best, reach[best]


def safeguard(rounds, f, short=100, long=600, short_threshold=None, long_threshold=None):
    """Plain sums, as in the paper; every node answers in every round."""
    good = set(rounds[0])
    sums = {}
    out = []
    for t, rows in enumerate(rounds):
        stays = set(good)
        for window, threshold in ((short, short_threshold), (long, long_threshold)):
            if t % window == 0:
                sums[window] = {i: np.zeros(len(row)) for i, row in rows.items()}
            for i in rows:
                sums[window][i] = sums[window][i] + rows[i] / len(good)
            points = {i: sums[window][i] for i in rows if i in good}
            middle, reach = centre(points)
            norms = sorted(np.linalg.norm(rows[i]) for i in points)
            floor = 1e-6 / len(good) * norms[(len(norms) - 1) // 2] * (t % window + 1)
            limit = max(1.5 * reach, floor) if threshold is None else threshold
            for i, point in points.items():
                if distance(point, points[middle]) > 2 * limit:
                    stays.discard(i)
        good = stays
        out.append(average([row for i, row in rows.items() if i in good]))
    return out


def byzantine_sgd(rounds, f, models, deviation=1.0, diameter=10.0, total=100, delta=0.1):
    """Plain sums, as in the paper; every node answers in every round."""
    m = len(rounds[0])
    limit = 4 * deviation * math.sqrt(total * math.log(16 * m * total / delta))
    a = dict.fromkeys(rounds[0], 0.0)
    b = {i: np.zeros(len(row)) for i, row in rounds[0].items()}
    good, out = set(rounds[0]), []
    for rows, model in zip(rounds, models, strict=True):
        for i, row in rows.items():
            a[i] += sum(x * y for x, y in zip(row, model - models[0], strict=True))
            b[i] = b[i] + row
        a_median = float(np.median(list(a.values())))
        b_middle, x_middle = centre(b)[0], centre(rows)[0]
        good = {
            i for i in good
            if abs(a[i] - a_median) <= diameter * limit
            and distance(b[i], b[b_middle]) <= limit
            and distance(rows[i], rows[x_middle]) <= 4 * deviation
        }
        out.append(average([row for i, row in rows.items() if i in good]))
    return out


def foolsgold(rounds, f):
    """The outputs over rounds of {node: row}."""
    history, out = {}, []
    for rows in rounds:
        for node, row in rows.items():
            history[node] = history.get(node, 0.0) + np.asarray(row, float)
        nodes = list(rows)
        n = len(nodes)
        like = np.zeros((n, n))
        for i, a in enumerate(nodes):
            for j, b in enumerate(nodes):
                if i != j:
                    x, y = history[a], history[b]
                    like[i, j] = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        most = like.max(axis=1)
        pardoned = like.copy()
        for i in range(n):
            for j in range(n):
                if most[j] > most[i]:
                    pardoned[i, j] = like[i, j] * most[i] / most[j]
        alpha = [min(1.0, max(0.0, 1.0 - max(line))) for line in pardoned]
        alpha = [a / max(alpha) for a in alpha]
        weights = []
        for a in alpha:
            a = 0.99 if a == 1.0 else a
            weights.append(0.0 if a <= 0 else min(1.0, max(0.0, np.log(a / (1 - a)) + 0.5)))
        total = sum(w * np.asarray(rows[node]) for w, node in zip(weights, nodes, strict=True))
        out.append(total / sum(weights))
    return out
