// Light, dark, or as the system has it; and the colours of systems, the same in tables, charts and captions.

const THEMES = ["system", "light", "dark"];
const SYSTEM_COLOURS = {
  light: ["#0072b2", "#d55e00", "#009e73", "#b8559a", "#b07a00", "#4a4fb5", "#7a7f87"],
  dark: ["#56b4e9", "#ff9147", "#3ecf9b", "#e79ac6", "#f0d048", "#a5a8ff", "#a8afb9"],
};
const SHADES = { // of the spectrogram, from silence to the loudest
  light: ["#ffffff", "#e4e9f7", "#a9b8e8", "#6f74cf", "#5d3fae", "#471d74", "#1d0b33"],
  dark: ["#0b0d14", "#1b1145", "#51127c", "#a1307e", "#e85362", "#fea873", "#fcfdbf"],
};
const systemDark = matchMedia("(prefers-color-scheme: dark)");
let theme = "system";
try {
  theme = localStorage.getItem("fusion-theme") ?? "system";
} catch {} // a browser may keep nothing for files

const isDark = () => (theme === "system" ? systemDark.matches : theme === "dark");
const mode = () => (isDark() ? "dark" : "light");

function applyTheme() {
  document.documentElement.dataset.theme = mode();
  find("theme").textContent = { system: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[theme];
  document.dispatchEvent(new Event("themechange"));
}

function nextTheme() {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  try {
    localStorage.setItem("fusion-theme", theme);
  } catch {}
  applyTheme();
}

let systems = [];
const colourOf = (system) => {
  const colours = SYSTEM_COLOURS[mode()];
  const index = systems.indexOf(system);
  return index < 0 ? colours.at(-1) : colours[index % colours.length];
};

function paintDots(root = document) {
  for (const dot of root.querySelectorAll(".dot[data-system]")) dot.style.background = colourOf(dot.dataset.system);
}
