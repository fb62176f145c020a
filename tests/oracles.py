"""Every one-round rule a second time: naive float64 loops, written from the definitions alone.

None of it uses the package. Each takes the rows and f and returns the vector, or the rows that
leave a pre-aggregator. Rules with memory are in `oracles_memory`.
"""

import math
from itertools import combinations

import numpy as np


def distance(x, y):
    return np.sqrt(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)))


def average(rows):
    total = np.zeros(len(rows[0]))
    for row in rows:
        total = total + row
    return total / len(rows)


def mean(rows, f):
    return np.array([math.fsum(column) / len(rows) for column in rows.T])


def per_coordinate(rows, function):
    return np.array([function(sorted(column)) for column in np.asarray(rows).T], dtype=float)


def median_value(values):
    values = sorted(values)
    n = len(values)
    return values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / 2


def trimmed_value(values, f):
    kept = sorted(values)[f : len(values) - f]
    return sum(kept) / len(kept)


def nearest_value(values, centre, k):
    ranked = sorted(values, key=lambda value: (abs(value - centre), value))
    return sum(ranked[:k]) / k


def cwtm(rows, f):
    return per_coordinate(rows, lambda v: trimmed_value(v, f))


def cwmed(rows, f):
    return per_coordinate(rows, median_value)


def meamed(rows, f):
    return per_coordinate(rows, lambda v: nearest_value(v, median_value(v), len(v) - f))


def phocas(rows, f):
    return per_coordinate(rows, lambda v: nearest_value(v, trimmed_value(v, f), len(v) - f))


def signmajority(rows, f):
    def vote(values):
        balance = sum(int(value > 0) - int(value < 0) for value in values)
        return (balance > 0) - (balance < 0)

    return per_coordinate(rows, vote)


def all_mda(rows, f):
    """The mean of every subset of least diameter."""
    n = len(rows)
    subsets = list(combinations(range(n), n - f))
    sizes = [
        max((distance(rows[i], rows[j]) for i, j in combinations(s, 2)), default=0.0)
        for s in subsets
    ]
    return [
        average([rows[i] for i in s])
        for s, size in zip(subsets, sizes, strict=True) if size <= min(sizes) * (1 + 1e-12)
    ]


def krum_order(rows, neighbours, itself=False):
    scores = []
    for i, row in enumerate(rows):
        squares = [distance(row, other) ** 2 for j, other in enumerate(rows) if itself or j != i]
        scores.append((sum(sorted(squares)[:neighbours]), i))
    return [i for _, i in sorted(scores)]


def krum(rows, f):
    return rows[krum_order(rows, len(rows) - f - 2)[0]]


def krum_star(rows, f):
    return rows[krum_order(rows, len(rows) - f, itself=True)[0]]


def multikrum(rows, f):
    m = len(rows) - f - 2
    return average([rows[i] for i in krum_order(rows, m)[:m]])


def pull(rows, y):
    """The sum of unit vectors from the rows to y, and how many rows lie on y."""
    total, here = np.zeros(len(y)), 0
    for row in rows:
        apart = np.linalg.norm(y - row)
        if apart <= 1e-9 * np.linalg.norm(row):
            here += 1
        else:
            total = total + (y - row) / apart
    return float(np.linalg.norm(total)), here


def is_gm(rows, y, slack=1e-6):
    """Whether y has the least sum of distances: the pulls of the rows on it are balanced."""
    total, here = pull(rows, y)
    return total <= here + slack


def gm(rows, f):
    """Weiszfeld's steps in d coordinates, unless a row is the median itself."""
    rows = np.array(rows)
    for row in rows:
        if is_gm(rows, row, slack=0.0):
            return row
    shift = np.median(rows, axis=0)  # digits for what differs
    rows = rows - shift
    y = np.zeros(len(shift))
    for _ in range(20_000):
        pulls = 1.0 / np.maximum(np.linalg.norm(rows - y, axis=1), 1e-300)
        following = pulls @ rows / pulls.sum()
        moved = np.linalg.norm(following - y)
        y = following
        if moved < 1e-15 * np.linalg.norm(y):
            break
    return y + shift


def gmom(rows, f):
    k, n = 2 * f + 1, len(rows)
    groups, start = [], 0
    for group in range(k):
        size = n // k + (1 if group < n % k else 0)
        groups.append(average(rows[start : start + size]))
        start += size
    return gm(groups, f)


def bulyan(rows, f):
    left, chosen = [np.array(row) for row in rows], []
    theta = len(rows) - 2 * f
    while len(chosen) < theta:
        best = krum_order(left, max(1, len(left) - f - 2))[0]
        chosen.append(left.pop(best))
    return per_coordinate(
        chosen, lambda v: nearest_value(v, median_value(v), theta - 2 * f)
    )


def cge(rows, f):
    ranked = sorted(range(len(rows)), key=lambda i: np.sqrt(sum(x * x for x in rows[i])))
    return average([rows[i] for i in ranked[: len(rows) - f]])


def sever(rows, f, rounds=None):
    left = [np.array(row) for row in rows]
    rounds = f if rounds is None else rounds
    for step in range(rounds):
        for_this_pass = f // rounds + (1 if step < f % rounds else 0)
        if for_this_pass == 0:
            continue
        apart = np.array(left) - average(left)
        direction = np.linalg.svd(apart)[2][0]
        scores = [float(row @ direction) ** 2 for row in apart]
        worst = sorted(range(len(left)), key=lambda i: -scores[i])[:for_this_pass]
        left = [row for i, row in enumerate(left) if i not in worst]
    return average(left)


def monna(rows, f, trusted=0):
    ranked = sorted(
        range(len(rows)), key=lambda i: (i != trusted, distance(rows[i], rows[trusted]))
    )
    return average([rows[i] for i in ranked[: len(rows) - f]])


def top_eigenvector(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return values[-1], vectors[:, -1]


def caf(rows, f):
    n = len(rows)
    c = [1.0] * n
    best, least = average(rows), float("inf")
    while sum(c) > n - 2 * f:
        mu = sum(ci * row for ci, row in zip(c, rows, strict=True)) / sum(c)
        covariance = sum(
            ci * np.outer(row - mu, row - mu) for ci, row in zip(c, rows, strict=True)
        ) / sum(c)
        value, v = top_eigenvector(covariance)
        if value < least:
            best, least = mu, value
        along = [float((row - mu) @ v) for row in rows]
        tau = [t**2 if ci > 0 else 0.0 for ci, t in zip(c, along, strict=True)]
        if max(tau) == 0.0:
            break
        c = [ci * (1 - t / max(tau)) for ci, t in zip(c, tau, strict=True)]
    return best


def smea(rows, f):
    n = len(rows)
    best, least = None, float("inf")
    for subset in combinations(range(n), n - f):
        chosen = np.array([rows[i] for i in subset])
        apart = chosen - average(chosen)
        value = np.linalg.norm(apart, ord=2) ** 2
        if value < least:
            best, least = average(chosen), value
    return best


def rge(rows, f):
    n = len(rows)

    def share(m):
        return int(np.ceil(m * (n - f) / n - 1e-9))

    def ball(points, keep):
        radii = [sorted(distance(p, q) for q in points)[keep - 1] for p in points]
        centre = points[radii.index(min(radii))]
        ranked = sorted(range(len(points)), key=lambda i: distance(points[i], centre))
        return np.array([points[i] for i in sorted(ranked[:keep])])

    def interval(values, keep):
        ranked = sorted(range(len(values)), key=lambda i: values[i])
        windows = [ranked[s : s + keep] for s in range(len(values) - keep + 1)]
        width = {tuple(w): values[w[-1]] - values[w[0]] for w in windows}
        room = 1e-12 * (max(values) - min(values))
        narrow = [w for w in windows if width[tuple(w)] <= min(width.values()) + room]
        first = min(
            [i for i in range(len(values))
             if values[w[0]] - room <= values[i] <= values[w[-1]] + room][:keep]
            for w in narrow
        )
        return sum(values[i] for i in first) / keep

    def estimate(points, p):
        """The estimate for points that vary in at most p directions, in all coordinates."""
        kept = ball(points, share(len(points)))
        centre = average(kept)
        _, sizes, axes = np.linalg.svd(kept - centre)
        rank = int((sizes > 1e-9 * max(sizes[0], 1e-300)).sum())
        p = rank if p is None else p
        if p == 0:
            return centre
        upper = axes[: (p + 1) // 2]
        inside = (kept - centre) @ upper.T
        if len(upper) == 1:
            found = np.array([interval(inside[:, 0], share(len(inside)))])
        else:
            found = estimate(inside, len(upper))
        return centre + found @ upper

    return estimate(np.array(rows), None)


def aksel(rows, f):
    centre = [median_value(column) for column in rows.T]
    ranked = sorted(range(len(rows)), key=lambda i: distance(rows[i], centre))
    return average([rows[i] for i in ranked[: (len(rows) + 1) // 2]])


def dnc(rows, f, iterations=1, filtered=1.0, columns=None):
    """``columns``: those that each iteration draws; all if left out."""
    good = set(range(len(rows)))
    for k in range(iterations):
        part = rows if columns is None else rows[:, columns[k]]
        apart = part - average(part)
        direction = np.linalg.svd(apart)[2][0]
        scores = [float(row @ direction) ** 2 for row in apart]
        ranked = sorted(range(len(rows)), key=lambda i: -scores[i])
        good -= set(ranked[: math.ceil(filtered * f)])
    return average([rows[i] for i in sorted(good)])


def ray(row):
    norm = np.linalg.norm(row)
    return row / norm if norm > 0 else row


def cosine_distance(x, y):
    """Half the squared distance of the rays, which keeps the digits of a small angle."""
    if not np.any(x) or not np.any(y):
        return 1.0
    return distance(ray(x), ray(y)) ** 2 / 2


def fltrust(rows, f, root=None):
    root = rows[0] if root is None else root
    trust = [max(0.0, 1.0 - cosine_distance(row, root)) for row in rows]
    size = np.linalg.norm(root)
    return sum(t * size * ray(row) for t, row in zip(trust, rows, strict=True)) / sum(trust)


def flame(rows, f):
    n = len(rows)
    limit = 0.0  # let links grow until more than half of the rows hang together
    lengths = sorted({cosine_distance(x, y) for x in rows for y in rows})
    for limit in lengths:
        for start in range(n):
            cluster, reached = {start}, [start]
            while reached:
                i = reached.pop()
                near = {j for j in range(n) if cosine_distance(rows[i], rows[j]) <= limit}
                reached += near - cluster
                cluster |= near
            if 2 * len(cluster) > n:
                limit = median_value([np.linalg.norm(row) for row in rows])
                clipped = [min(np.linalg.norm(rows[i]), limit) * ray(rows[i]) for i in cluster]
                return average(clipped)
    raise AssertionError("at the largest distance all rows hang together")


def mean_shift(points):
    """The labels of flat kernels from every point; -1 outside of all."""
    n = len(points)
    nearest = [sorted(distance(p, q) for q in points)[max(1, n // 2) - 1] for p in points]
    width = max(sum(nearest) / n, 1e-9)
    centres = []
    for centre in points:
        while True:
            inside = [p for p in points if distance(p, centre) <= width]
            moved, centre = distance(average(inside), centre), average(inside)
            if moved <= 1e-3 * width:
                break
        centres.append((len(inside), tuple(centre)))
    kept = []
    for _, centre in sorted(set(centres), reverse=True):
        if all(distance(centre, other) > width for other in kept):
            kept.append(centre)
    labels = []
    for p in points:
        apart = [distance(p, centre) for centre in kept]
        labels.append(apart.index(min(apart)) if min(apart) <= width else -1)
    return labels


def signguard(rows, f, share=0.1, first=None):
    d = rows.shape[1]
    size = min(d, max(1, int(share * d)))
    first = int(np.random.default_rng(1).integers(d - size + 1)) if first is None else first
    part = rows[:, first : first + size]
    points = [
        np.array([sum(row > 0), sum(row == 0), sum(row < 0)]) / size for row in part
    ]
    labels = mean_shift(points)
    largest = max(range(max(labels) + 1), key=labels.count)
    norms = [np.linalg.norm(row) for row in rows]
    typical = median_value(norms)
    chosen = [
        min(norm, typical) * ray(row) for row, norm, label in zip(rows, norms, labels, strict=True)
        if label == largest and 0.1 * typical <= norm <= 3.0 * typical
    ]
    return average(chosen) if chosen else np.zeros(d)


def nnm(rows, f):
    out = []
    for row in rows:
        ranked = sorted(range(len(rows)), key=lambda j: distance(row, rows[j]))
        out.append(average([rows[j] for j in ranked[: len(rows) - f]]))
    return np.array(out)


def bucketing(rows, f, order, s):
    shuffled = [rows[i] for i in order]
    return np.array([average(shuffled[i : i + s]) for i in range(0, len(rows), s)])


def clipping(rows, f, radius=1.0):
    return np.array([row * min(1.0, radius / np.linalg.norm(row)) for row in rows])


def arc(rows, f):
    n = len(rows)
    norms = [np.linalg.norm(row) for row in rows]
    ranked = sorted(range(n), key=lambda i: norms[i])
    k = 2 * f * (n - f) // n
    limit = norms[ranked[n - k - 1]]
    return np.array([
        row * (limit / norm) if i in ranked[n - k :] else row
        for i, (row, norm) in enumerate(zip(rows, norms, strict=True))
    ])


ORACLES = {
    "mean": mean, "mda": lambda rows, f: all_mda(rows, f)[0], "cwtm": cwtm, "cwmed": cwmed,
    "meamed": meamed, "phocas": phocas, "krum": krum, "krum*": krum_star,
    "multikrum": multikrum, "gm": gm, "gmom": gmom,
    "bulyan": bulyan, "cge": cge, "sever": sever, "rge": rge, "monna": monna, "caf": caf,
    "smea": smea, "signmajority": signmajority, "aksel": aksel, "dnc": dnc, "fltrust": fltrust,
    "flame": flame, "signguard": signguard,
}
