"""Page: a template filled in, as one self-contained HTML file that asks the network for nothing."""

import base64
import io
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

LOSSLESS_PX = 128  # a choice: images of the toys, 64 px, keep every level


def render_page(template: str, **values: Any) -> bytes:
    """Fill in a template of this package; text is escaped, names left out are errors.

    ``page.css`` in the same folder is the look that all pages share; its colours are variables for
    light and dark. Templates get the filters ``number`` and ``share``.
    """
    environment = Environment(
        loader=PackageLoader("l4f_datagen.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "share": share}
    return (environment.get_template(template).render(**values).rstrip() + "\n").encode()


def number(value: float) -> str:
    """Write a count or a measure for a person.

    >>> number(50000), number(0.12345), number(0.7)
    ('50,000', '0.123', '0.7')
    """
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def share(part: int, whole: int) -> str:
    """Write a share in per cent; "none" where there is nothing to share.

    >>> share(1, 3), share(0, 0)
    ('33.3 %', 'none')
    """
    return f"{100 * part / whole:.1f} %" if whole else "none"


def webp_uri(image: Image.Image, quality: int, *, method: int = 1) -> str:
    """An image inside a page, WebP as a data URI; lossless up to ``LOSSLESS_PX``.

    ``method`` is the encoder's effort: 1 is as small as 3 on tiles, in half the time.
    """
    buffer, small = io.BytesIO(), max(image.size) <= LOSSLESS_PX
    options: dict[str, Any] = {"lossless": small, "quality": 50 if small else quality}
    image.save(buffer, "WEBP", alpha_quality=90, method=method, **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
