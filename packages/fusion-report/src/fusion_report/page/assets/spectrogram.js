// The picture of a clip: levels packed in the page, painted in the colours of the theme.

const CONTRAST = 1.5; // above 1: a noise floor stays pale

function shadesOf(levels) {
  const stops = SHADES[mode()].map((colour) => [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16)));
  return Array.from({ length: levels }, (_, level) => {
    const place = (level / (levels - 1)) ** CONTRAST * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    return stops[low].map((value, channel) => value + (stops[low + 1][channel] - value) * (place - low));
  });
}

function paintSpectrogram(canvas, levels, { bands, frames, levels: count }) {
  const shades = shadesOf(count);
  const image = new ImageData(frames, bands);
  for (let band = 0; band < bands; band += 1) {
    for (let frame = 0; frame < frames; frame += 1) {
      const shade = shades[levels[band * frames + frame]];
      const at = 4 * ((bands - 1 - band) * frames + frame); // high bands on top
      image.data.set([...shade, 255], at);
    }
  }
  const small = new OffscreenCanvas(frames, bands);
  small.getContext("2d").putImageData(image, 0, 0);
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.max(frames, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.max(bands, Math.round(canvas.clientHeight * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}
