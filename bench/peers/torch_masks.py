"""The documents of `kedge bench attention --documents N --anchor` as PyTorch's attention sees them."""


def documents_of(torch, tokens, count):
    """The document of each token: equal ones, after the anchor, which is document 0."""
    document, text = torch.zeros(tokens, dtype=torch.int32), tokens - 1
    for n in range(count):
        document[1 + text * n // count:1 + text * (n + 1) // count] = n + 1
    return document


def pairs_of(document):
    """Pairs of tokens that see each other: those of each document, and every token with the anchor."""
    length = document.bincount()
    return int((length * (length + 1) // 2).sum()) + document.numel() - 1


def sight_of(document):
    """FlexAttention's mask function of them."""
    def sees(b, h, query, key):
        return (query >= key) & ((document[query] == document[key]) | (key == 0))
    return sees


def reason(error):
    """The first line of what a peer failed with."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
