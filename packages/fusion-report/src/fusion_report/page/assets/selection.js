// Which clips are listed, and in which order.

const ORDERS = [
  ["", "as in the set"],
  ["best", "best score first"],
  ["worst", "worst score first"],
  ["lead", "largest lead over the other"],
  ["behind", "furthest behind the other"],
];

const outputKey = (output) => `${output.run}/${output.condition}`;

function outputNamed(set, key, otherwise) {
  return set.outputs.find((output) => outputKey(output) === key) ?? otherwise;
}

// The two outputs that are compared: by default the first that heard, and one of another system, or of another condition.
function comparedOutputs(set, state) {
  const first = outputNamed(set, state.first, set.outputs[0]);
  const rival = (output) => output.heard && output.label !== first?.label;
  const fallback = set.outputs.find(rival) ?? set.outputs.find((output) => output !== first) ?? first;
  return [first, outputNamed(set, state.second, fallback)];
}

function chosenMetric(set, state) {
  const names = [...new Set(set.outputs.flatMap((output) => Object.keys(output.scores)))];
  return names.includes(state.metric) ? state.metric : (names.find((name) => name === "cider_d") ?? names[0] ?? "");
}

// What is searched in a clip; made once a set, when the first search needs it.
function searchTexts(set) {
  set.texts ??= set.clips.map((clip, index) =>
    folded(
      [
        clip.id,
        ...clip.references,
        ...(clip.events ?? []).map((event) => event.name),
        ...(clip.kinds ?? []),
        ...set.outputs.map((output) => output.captions[index] ?? ""),
      ].join("\n"),
    ),
  );
  return set.texts;
}

// Words must all be there, in any order; what stands in quotation marks must be there as it is.
function termsOf(query) {
  return [...folded(query).matchAll(/"([^"]+)"|(\S+)/g)].map((match) => match[1] ?? match[2].replaceAll('"', "")).filter(Boolean);
}

function selectedClips(set, state) {
  const terms = termsOf(state.q ?? "");
  const texts = terms.length ? searchTexts(set) : [];
  const indices = [...set.clips.keys()].filter((index) => {
    const clip = set.clips[index];
    if (state.sound && !clip.events?.some((event) => event.name === state.sound)) return false;
    if (state.kind && !clip.kinds?.includes(state.kind)) return false;
    if (state.audible && !clip.media.block) return false;
    return terms.every((term) => texts[index].includes(term));
  });
  return inOrder(set, state, indices);
}

function inOrder(set, state, indices) {
  if (!state.order) return indices;
  const metric = chosenMetric(set, state);
  const [first, second] = comparedOutputs(set, state);
  const score = (output, index) => output?.scores[metric]?.[index] ?? null;
  const difference = (index) => {
    const [a, b] = [score(first, index), score(second, index)];
    return a === null || b === null ? null : a - b;
  };
  const key = ["lead", "behind"].includes(state.order) ? difference : (index) => score(first, index);
  const descending = ["best", "lead"].includes(state.order);
  return [...indices].sort((a, b) => compare(key(a), key(b), descending) || a - b);
}
