// Data stand in the page as base64, most of it packed by gzip.

function bytesOf(id) {
  const text = atob(find(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return bytes;
}

async function unpacked(id) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack gzip (those since 2023 can); the tables are readable, charts and clips are not.");
  }
  const stream = new Blob([bytesOf(id)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const unpackedJson = async (id) => JSON.parse(new TextDecoder().decode(await unpacked(id)));
