"""How the page looks, and the little that the browser does by itself."""

from __future__ import annotations

import gradio as gr

TITLE = "StreamChat"
WATCH = "Watch and chat"


def theme() -> gr.themes.Base:
    """Calm and local: no font is fetched from elsewhere."""
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


CSS = """
.gradio-container { max-width: 1240px !important; width: 100% !important; margin: 0 auto !important; }
.gradio-container > main, .gradio-container .wrap { width: 100%; }
#sc-head h1 { font-size: 1.55rem; font-weight: 650; margin: 0; letter-spacing: -0.01em; }
#sc-head p { margin: .15rem 0 0; color: var(--body-text-color-subdued); }
.sc-model { display: flex; align-items: center; gap: .55rem; font-size: .88rem; min-height: 1.5rem;
  color: var(--body-text-color-subdued); }
.sc-dot { flex: none; width: .55rem; height: .55rem; border-radius: 50%; background: #22a06b; }
.sc-dot.sc-busy { background: var(--primary-500); animation: sc-breathe 1.6s ease-in-out infinite; }
@keyframes sc-breathe { 50% { opacity: .35; } }
@media (prefers-reduced-motion: reduce) { .sc-dot.sc-busy { animation: none; } }
#model { margin-top: -.6rem; }
.sc-gauges { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: .5rem; margin: 0; }
.sc-gauge { background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-md); padding: .45rem .7rem; }
.sc-gauge dt { font-size: .74rem; color: var(--body-text-color-subdued); }
.sc-gauge dd { margin: 0; font-size: 1rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap;
  color: var(--body-text-color); }
.sc-moments { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .4rem; }
.sc-chip { display: flex; flex-direction: column; width: 104px; padding: 0; overflow: hidden; cursor: pointer;
  text-align: center; background: var(--background-fill-primary); border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-md); color: var(--body-text-color); }
.sc-chip:hover, .sc-chip:focus-visible { border-color: var(--primary-500); outline: 2px solid var(--primary-500);
  outline-offset: 1px; }
.sc-chip img { width: 104px !important; height: 60px !important; margin: 0 !important; object-fit: cover;
  display: block; border-radius: 0 !important; }
.sc-chip span { font-size: .78rem; padding: .2rem 0; font-variant-numeric: tabular-nums; }
.sc-footnote { font-size: .74rem; color: var(--body-text-color-subdued); margin-top: .35rem; }
#sc-examples { gap: .4rem; }
#sc-examples button { min-width: 0; }
#film video { background: #000; max-height: 420px; }
#chat .placeholder, #chat .placeholder-content { padding: 0 1.2rem; text-align: center; }
footer { opacity: .6; }
/* Cutting would load a tool from another site, and the film that is watched must not change under the memory. */
#film button[aria-label*="rim"], #film button[aria-label*="ndo"], #film button[aria-label*="eset"] { display: none; }
@media (max-width: 640px) {
  .sc-gauges { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  #film, #film > div { height: 240px !important; }
  #chat { height: 380px !important; }
}
"""

# A chip seeks the player. It stands in answers that come and go, so the page listens once for all of them.
HEAD = """
<script>
document.addEventListener('click', (event) => {
  const chip = event.target.closest && event.target.closest('[data-seek]');
  const video = document.querySelector('#film video');
  if (!chip || !video) return;
  video.currentTime = Number(chip.dataset.seek);
  video.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
});
</script>
"""

# A film that was just opened starts by itself; browsers allow that without sound only.
PLAY = """
() => {
  const start = (tries) => {
    const video = document.querySelector('#film video');
    if (video && video.readyState >= 1) { video.muted = true; video.play().catch(() => {}); }
    else if (tries > 0) setTimeout(() => start(tries - 1), 100);
  };
  start(50);
}
"""
