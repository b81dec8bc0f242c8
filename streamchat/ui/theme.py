"""How the page looks, and the little that the browser does by itself."""

from __future__ import annotations

import gradio as gr

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


CSS = """
.gradio-container { max-width: 1240px !important; width: 100% !important; margin: 0 auto !important; }
.gradio-container > main, .gradio-container .wrap { width: 100%; }
#sc-head .html-container, #model .html-container, #gauges .html-container, #hint .html-container,
#sc-or .html-container { padding: 0; }
#sc-head h1 { font-size: 1.6rem; font-weight: 600; margin: 0; letter-spacing: -0.015em; }
#sc-head p { margin: .1rem 0 0; color: var(--body-text-color-subdued); }
.sc-model { display: flex; align-items: baseline; gap: .5rem; font-size: .88rem; min-height: 1.5rem;
  color: var(--body-text-color-subdued); }
.sc-model span, .sc-model small { color: var(--body-text-color-subdued); }
.sc-model small { display: block; font-size: .78rem; }
#sc-model-row { align-items: center; margin-top: -.8rem; }
@media (max-width: 700px) { #sc-model-row { flex-direction: column; align-items: stretch; } }
.sc-dot { flex: none; width: .55rem; height: .55rem; border-radius: 50%; background: #22a06b; }
.sc-dot.sc-busy { background: var(--primary-500); animation: sc-breathe 1.6s ease-in-out infinite; }
@keyframes sc-breathe { 50% { opacity: .35; } }
@media (prefers-reduced-motion: reduce) { .sc-dot.sc-busy { animation: none; } }
#eval-live, #eval-report { overflow-x: auto; }
#eval-report h2, #eval-live h2 { font-size: 1rem; font-weight: 600; margin: 1.1rem 0 .3rem; }
#eval-report .wide { overflow-x: auto; }
#eval-report :is(table, tr), #eval-live :is(table, tr) { border: 0 !important; }
#eval-report table, #eval-live table { border-collapse: collapse; font-size: .82rem; margin: 0;
  font-variant-numeric: tabular-nums; }
#eval-report :is(th, td), #eval-live :is(th, td) { border: 0; border-bottom: 1px solid var(--border-color-primary);
  padding: .35rem .9rem .35rem 0; text-align: left; white-space: nowrap; }
#eval-report p { font-size: .78rem; color: var(--body-text-color-subdued); margin: .3rem 0 0; }
#eval-report figure { margin: .4rem 0; background: #fff; } #eval-report svg { width: 100%; height: auto; }
.sc-hint { margin: 0; font-size: .82rem; color: var(--body-text-color-subdued); }
.sc-hint b { font-variant-numeric: tabular-nums; color: var(--body-text-color); }
#sc-or, #hint { margin-top: -.35rem; }
#sc-or { margin-bottom: -.5rem; }
.sc-gauges { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: .5rem; margin: 0; }
.sc-gauge { background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-md); padding: .5rem .75rem; }
.sc-gauge dt { font-size: .76rem; color: var(--body-text-color-subdued); }
.sc-gauge dd { margin: 0; font-size: 1rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap;
  color: var(--body-text-color); }
.sc-gauge small { display: block; min-height: 1.2em; font-size: .74rem; line-height: 1.2; font-weight: 400;
  overflow: hidden; text-overflow: ellipsis; color: var(--body-text-color-subdued); }
.sc-moments { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .4rem; }
.sc-chip { display: flex; flex-direction: column; width: 104px; padding: 0; overflow: hidden; cursor: pointer;
  text-align: center; background: var(--background-fill-primary); border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-md); color: var(--body-text-color); }
.sc-chip:hover, .sc-chip:focus-visible { border-color: var(--primary-500); outline: 2px solid var(--primary-500);
  outline-offset: 1px; }
.sc-chip img { width: 104px !important; height: 60px !important; margin: 0 !important; object-fit: cover;
  display: block; border-radius: 0 !important; }
.sc-chip span { font-size: .78rem; padding: .2rem 0; font-variant-numeric: tabular-nums; }
.sc-footnote { font-size: .76rem; color: var(--body-text-color-subdued); margin-top: .35rem; }
#sc-examples { gap: .5rem; flex-wrap: nowrap; align-items: stretch; }
#sc-examples button { min-width: 0 !important; flex: 1 1 0; flex-direction: column; align-items: stretch; gap: 0;
  padding: 0; overflow: hidden; border: 1px solid var(--border-color-primary); font-weight: 400;
  background: var(--block-background-fill); line-height: 1.25; padding-bottom: .4rem; }
#sc-examples button:hover, #sc-examples button:focus-visible { border-color: var(--primary-500); }
#sc-examples img { width: 100%; height: 72px; margin: 0 0 .4rem; object-fit: cover; }
#rest { border: 1px solid var(--border-color-primary); background: var(--block-background-fill); }
#film video { background: #000; max-height: 420px; }
/* The names of the two large parts are for screen readers: to the eye they would hide a corner of film and chat. */
#film [data-testid="block-label"], #chat [data-testid="block-label"] { position: absolute; width: 1px; height: 1px;
  padding: 0; overflow: hidden; clip-path: inset(50%); border: 0; }
#chat .placeholder, #chat .placeholder-content { padding: 0 1.2rem; text-align: center; }
#chat .message-buttons-right { display: none; }
#stop:disabled { background: transparent; border-color: transparent; }
footer { opacity: .6; }
/* Cutting would load a tool from another site, and the film that is watched must not change under the memory. */
#film button[aria-label*="rim"], #film button[aria-label*="ndo"], #film button[aria-label*="eset"] { display: none; }
@media (max-width: 640px) {
  .sc-gauges { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  #sc-examples img { height: 52px; }
  #sc-examples button { font-size: .72rem; }
  #film, #film > div { height: 220px !important; }
  #chat { height: 380px !important; }
}
"""

# Chips stand in answers that come and go, and players in films that come and go, so the page listens once for all.
HEAD = """
<script>
document.addEventListener('click', (event) => {
  const chip = event.target.closest && event.target.closest('[data-seek]');
  const video = document.querySelector('#film video');
  if (!chip || !video) return;
  video.currentTime = Number(chip.dataset.seek);
  video.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
});
const showMoment = (event) => {
  const now = document.querySelector('#sc-now');
  if (!now || !event.target.closest || !event.target.closest('#film')) return;
  const whole = Math.floor(event.target.currentTime), two = (number) => String(number).padStart(2, '0');
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const text = (hours ? hours + ':' + two(minutes) : minutes) + ':' + two(whole % 60);
  if (now.textContent !== text) now.textContent = text;
};
document.addEventListener('timeupdate', showMoment, true);  // does not bubble, but is seen on its way down
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
