"""The words that captions use for ages."""


def age_group(age: int) -> str:
    """The word for an age in years.

    >>> [age_group(age) for age in (16, 30, 50, 70)]
    ['teenage', 'young', 'middle-aged', 'old']
    """
    return "teenage" if age < 20 else "young" if age < 35 else "middle-aged" if age < 58 else "old"
