// Hearing and seeing a clip: the player, the spectrogram and the event graph on one axis of time.

const EVENT_COLOURS = {
  light: ["#0b5cad", "#a8460b", "#0d7a58", "#8a3a75", "#6b5a00", "#4a4fb5"],
  dark: ["#74b6ff", "#ff9d66", "#5fd3a0", "#e79ac6", "#e6cc55", "#b3b6ff"],
};
let heard = null; // the object URL of the clip that is open

function mediaSource(media) {
  if (heard) URL.revokeObjectURL(heard);
  heard = null;
  if (media.block) heard = URL.createObjectURL(new Blob([bytesOf(media.block)], { type: media.type }));
  return heard ?? media.link ?? null;
}

function makePlayer(clip, picture) {
  const { media } = clip;
  const figure = make("figure", { class: "player" });
  const source = mediaSource(media);
  const isVideo = media.type?.startsWith("video/");
  const element = source ? make(isVideo ? "video" : "audio", { controls: true, preload: "metadata", src: source }) : null;
  const seconds = clip.seconds ?? Math.max(0, ...(clip.events ?? []).map((event) => event.offset));
  if (element && isVideo) figure.append(element);
  const drawn = media.picture || clip.events?.length;
  if (drawn && seconds) figure.append(...makeStage(clip, seconds, isVideo ? null : media.picture, element, picture));
  if (element && !isVideo) figure.append(element);
  if (element) element.setAttribute("aria-label", `${isVideo ? "Video" : "Sound"} of ${clip.id}`);
  if (media.reason) figure.append(make("p", { class: "why", text: media.reason }));
  if (element && media.link) {
    element.addEventListener("error", () => {
      figure.append(make("p", { class: "why", text: `${decoded(media.link)} is not there, or this browser cannot play it.` }));
    });
  }
  return figure;
}

function makeStage(clip, seconds, block, element, picture) {
  const stage = make("div", { class: "stage" });
  if (block) {
    const canvas = make("canvas", { role: "img", "aria-label": `Spectrogram of ${clip.id}` });
    stage.append(canvas);
    unpacked(block).then((levels) => {
      const paint = () => canvas.isConnected && paintSpectrogram(canvas, levels, picture);
      paint();
      new ResizeObserver(paint).observe(canvas);
      document.addEventListener("themechange", paint);
    });
  }
  if (clip.events?.length) stage.append(makeLanes(clip.events, seconds));
  if (element) addPlayhead(stage, element, seconds);
  return [stage, makeTicks(seconds)];
}

function makeLanes(events, seconds) {
  const lanes = make("div", { class: "lanes", role: "list", "aria-label": "What really sounds" });
  const colours = EVENT_COLOURS[mode()];
  events.forEach((event, index) => {
    const start = (100 * event.onset) / seconds;
    const width = (100 * (Math.min(event.offset, seconds) - event.onset)) / seconds;
    const count = event.count > 1 ? ` × ${event.count}` : "";
    const span = `${event.onset.toFixed(1)} to ${event.offset.toFixed(1)} s`;
    const bar = make("span", { class: event.background ? "event background" : "event" });
    bar.style.left = `${start}%`;
    bar.style.width = `${width}%`;
    bar.style.background = colours[index % colours.length];
    const label = make("span", { class: "label", text: event.name + count });
    const inside = width > 30;
    if (inside && !event.background) label.classList.add("on");
    if (inside) label.style.left = `${start}%`;
    else if (start < 60) label.style.left = `${start + width}%`;
    else label.style.right = `${100 - start}%`;
    const role = event.background ? "background" : "foreground";
    lanes.append(make("div", { class: "lane", role: "listitem", title: `${event.name}${count}, ${role}, ${span}` }, bar, label));
  });
  return lanes;
}

function addPlayhead(stage, element, seconds) {
  const head = make("div", { class: "playhead", hidden: true });
  stage.append(head);
  stage.classList.add("seekable");
  const place = () => {
    head.hidden = element.currentTime === 0 && element.paused;
    head.style.left = `${Math.min(100, (100 * element.currentTime) / seconds)}%`;
    if (!element.paused && element.isConnected) requestAnimationFrame(place);
  };
  for (const name of ["play", "seeked", "timeupdate", "pause"]) element.addEventListener(name, place);
  stage.addEventListener("click", (event) => {
    const box = stage.getBoundingClientRect();
    element.currentTime = ((event.clientX - box.left) / box.width) * seconds;
    element.play().catch(() => {}); // what cannot be played says so itself
  });
}

function makeTicks(seconds) {
  const ticks = make("div", { class: "ticks", "aria-hidden": "true" });
  const step = [0.5, 1, 2, 5, 10, 20, 60].find((one) => seconds / one <= 8) ?? 120;
  for (let time = 0; time <= seconds - step * 0.6; time += step) addTick(ticks, time, seconds);
  addTick(ticks, seconds, seconds).classList.add("last");
  return ticks;
}

function addTick(ticks, time, seconds) {
  const tick = make("span", { text: time === seconds ? `${seconds.toFixed(1)} s` : `${time}` });
  tick.style.left = `${(100 * time) / seconds}%`;
  ticks.append(tick);
  return tick;
}

function togglePlay() {
  const element = document.querySelector("#clip audio, #clip video");
  if (!element) return;
  if (element.paused) element.play().catch(() => {});
  else element.pause();
}
