"""What metrics are called in tables, pages and plots, and which way each is better.

Files call them by keys (`cross_view_recall_1`); docs/training.md defines them by these names.
"""

from __future__ import annotations

LOWER, HIGHER, ONE = "↓", "↑", "→ 1"  # is better; 1 is ideal
_POWER = "power_"  # keys of the power spectrum are power_LOW-HIGH

NAMES = {  # key, or the beginning that several have in common -> name, and which way is better
    "frechet": ("Fréchet distance", LOWER),
    "frechet_front": ("Fréchet distance of frontal images (as FID-front)", LOWER),
    "frechet_view": ("Fréchet distance (as FID-view)", LOWER),
    "frechet_random": ("Fréchet distance (as FID-random)", LOWER),
    "frechet_of_faces": ("Fréchet distance of faces", LOWER),
    "kernel": ("kernel distance", LOWER),
    "kernel_front": ("kernel distance of frontal images", LOWER),
    "precision": ("precision", HIGHER),
    "recall": ("recall", HIGHER),
    "density": ("density", HIGHER),
    "coverage": ("coverage", HIGHER),
    "diversity": ("diversity", HIGHER),
    "directional_bias": ("directional bias", LOWER),
    "directional_bias_of_quality": ("directional bias of quality", LOWER),
    "directional_bias_of_diversity": ("directional bias of diversity", LOWER),
    "mode_coverage": ("mode coverage", HIGHER),
    "cross_view_recall": ("cross-view recall", HIGHER),
    "cross_view_recall_1": ("cross-view recall@1", HIGHER),
    "cross_view_recall_5": ("cross-view recall@5", HIGHER),
    "condition_cosine": ("cosine similarity to the condition", HIGHER),
    "condition_cosine_of_others": ("cosine similarity to other conditions", ""),
    "condition_recall": ("condition recall", HIGHER),
    "condition_recall_1": ("condition recall@1", HIGHER),
    "condition_recall_5": ("condition recall@5", HIGHER),
    "consistency": ("multi-view consistency", HIGHER),
    "consistency_psnr": ("multi-view consistency, PSNR in dB", HIGHER),
    "consistency_l1": ("multi-view consistency, L1", LOWER),
    "consistency_seen_twice": ("share of the surface in both views", ""),
    "face_on_back": ("face on the back, share of pixels", LOWER),
    "heads_with_face_on_back": ("heads with a face on the back", LOWER),
    "mirrored_back": ("mirrored back", ""),
    "faces_found": ("detected faces", HIGHER),
    "faces_found_ratio": ("detected faces, over real heads'", HIGHER),
    "identity_auc": ("identity AUC", HIGHER),
}


def display_name(metric: str) -> str:
    """The name of a metric; of a key that is not known, its words.

    >>> display_name("cross_view_recall_1"), display_name("power_8-12"), display_name("my_own")
    ('cross-view recall@1', 'power at 8–12 cycles an image, over real', 'my own')
    """
    if metric.startswith(_POWER):
        band = metric.removeprefix(_POWER).replace("-", "–")
        return f"power at {band} cycles an image, over real"
    name, _ = NAMES.get(metric, (metric.replace("_", " "), ""))
    return name


def display_names(metrics: str) -> str:
    """Names of several metrics, separated by commas.

    >>> display_names("identity_auc, mode_coverage")
    'identity AUC, mode coverage'
    """
    return ", ".join(display_name(metric) for metric in metrics.split(", "))


def better(metric: str) -> str:
    """LOWER, HIGHER or ONE; empty where neither is better, or nothing is known.

    >>> better("frechet"), better("power_8-12"), better("mirrored_back")
    ('↓', '→ 1', '')
    """
    return ONE if metric.startswith(_POWER) else NAMES.get(metric, ("", ""))[1]
