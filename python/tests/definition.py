"""What attention is, in plain Python and double: the rule of sight, rotation by pairs, softmax. The tests' oracle."""
import math


def sees(plan, i, j):
    if j < plan.anchors:
        return j <= i
    document = [n for n in range(plan.N) if plan.start[n] <= j < plan.start[n + 1]][0]
    return j <= i and plan.start[document] <= i < plan.start[document + 1]


def rotate(x, position, inv_freq):
    half = len(x) // 2
    out = list(x)
    for e, f in enumerate(inv_freq):
        a = position * f
        out[e] = x[e] * math.cos(a) - x[e + half] * math.sin(a)
        out[e + half] = x[e + half] * math.cos(a) + x[e] * math.sin(a)
    return out


def attention(q, k, v, plan, inv_freq, scale=None):
    """q [T][H][E], k and v [T][G][E] nested lists -> o [T][H][E], lse [H][T]."""
    T, H, G, E = plan.T, len(q[0]), len(k[0]), len(q[0][0])
    scale = E ** -0.5 if scale is None else scale
    at = [int(p) for p in plan.position]
    keys = [[rotate(k[t][g], at[t], inv_freq) for g in range(G)] for t in range(T)]
    o, lse = [[None] * H for _ in range(T)], [[None] * T for _ in range(H)]
    for i in range(T):
        for h in range(H):
            x = rotate(q[i][h], at[i], inv_freq)
            g = h * G // H
            seen = [j for j in range(i + 1) if sees(plan, i, j)]
            logit = [scale * sum(a * b for a, b in zip(x, keys[j][g])) for j in seen]
            most = max(logit)
            weight = [math.exp(s - most) for s in logit]
            total = sum(weight)
            o[i][h] = [sum(w * v[j][g][e] for w, j in zip(weight, seen)) / total for e in range(E)]
            lse[h][i] = most + math.log(total)
    return o, lse
