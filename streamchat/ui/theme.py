"""How the page looks, and the little that the browser does by itself."""

from __future__ import annotations

import base64
from pathlib import Path

import gradio as gr

from streamchat.ui import examples

TITLE = "StreamChat"
WATCH = "Watch and chat"


def theme() -> gr.themes.Base:
    """Calm and local: the font comes with Gradio, and none is fetched from elsewhere."""
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_500",  # 4.5 to 1 on the page, which is what small text needs
        block_border_width="1px",
        block_border_color="*border_color_primary",
        block_shadow="none",
        block_title_background_fill="transparent",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_weight="500",
        input_background_fill="*background_fill_primary",
        input_background_fill_dark="*neutral_800",
        button_secondary_shadow="none",
        button_primary_shadow="none",
    )


def css() -> str:
    """The page's style, with the posters of the examples in it: files that Gradio serves go when another app ends."""
    rules = [(Path(__file__).parent / "page.css").read_text(encoding="utf-8")]
    for number, title in enumerate(examples.titles()):
        poster = examples.poster(title)
        if poster is not None:
            data = base64.b64encode(poster.read_bytes()).decode()
            rules.append(f"#example-{number} {{ --sc-poster: url(data:image/jpeg;base64,{data}) }}")
    return "\n".join(rules)


# Players stand in videos that come and go, so the page listens once for all.
HEAD = """
<script>
document.addEventListener('change', (event) => {
  const video = document.querySelector('#player video');
  if (event.target.id === 'sc-speed' && video) video.playbackRate = Number(event.target.value);
});
document.addEventListener('keydown', (event) => {
  const video = document.querySelector('#player video');
  const busy = event.target.closest('input, textarea, select, button, [role], [contenteditable], video');
  if (event.key !== ' ' || busy || !video || video.offsetParent === null) return;
  event.preventDefault();
  if (video.paused) video.play(); else video.pause();
});
</script>
"""

# A video that was just opened starts by itself; browsers allow that without sound only.
PLAY = """
() => {
  const start = (tries) => {
    const video = document.querySelector('#player video');
    if (video && video.readyState >= 1) {
      video.muted = true;
      video.playbackRate = Number(document.querySelector('#sc-speed').value);
      video.play().catch(() => {});
    }
    else if (tries > 0) setTimeout(() => start(tries - 1), 100);
  };
  start(50);
}
"""
