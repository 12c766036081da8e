// Light or dark. The colours of the page are those of its style; those of emotions and outcomes come
// with the view, for both. A page of its own follows the system until its switch is used, and keeps
// what was chosen where the browser lets it; a page within another is told by that. Paper is light.

const THEME_KEY = "facevoice-theme";
const LOOK_NAMES = ["ink", "soft", "line", "ground", "accent", "hatch", "hatch-ground", "speech", "sound", "seen", "lane", "name-odd", "name-even"];

// `wanted`: "light", "dark", or "auto" for a switch; `changed` is called when colours are others.
function createTheme(root, model, wanted, changed) {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const hasSwitch = wanted === "auto";
  let chosen = hasSwitch ? rememberedTheme() : wanted;
  let isPrinting = false;
  const nameNow = () => {
    if (isPrinting) return "light";
    return chosen ?? (system.matches ? "dark" : "light");
  };
  const button = el("button", { type: "button", class: "fv-button fv-theme", onclick: () => use(nameNow() === "dark" ? "light" : "dark") }, "Dark mode");
  const apply = () => {
    useColours(root, model, nameNow());
    button.setAttribute("aria-pressed", String(nameNow() === "dark"));
    changed();
  };
  const use = (name) => {
    chosen = name;
    if (hasSwitch) rememberTheme(name);
    apply();
  };
  const print = (event) => {
    isPrinting = event.type === "beforeprint";
    if (root.dataset.theme !== nameNow()) apply();
  };
  system.addEventListener("change", apply);
  for (const name of ["beforeprint", "afterprint"]) window.addEventListener(name, print);
  return {
    button: hasSwitch ? button : null,
    apply,
    use,
    destroy() {
      system.removeEventListener("change", apply);
      for (const name of ["beforeprint", "afterprint"]) window.removeEventListener(name, print);
      delete root.dataset.theme;
      for (const name of [...root.style].filter((one) => one.startsWith("--fv-"))) root.style.removeProperty(name);
    },
  };
}

function useColours(root, model, name) {
  root.dataset.theme = name;
  const [color, ink] = name === "dark" ? ["dark", "dark_ink"] : ["light", "light_ink"];
  for (const [kind, items] of [["emotion", model.emotions], ["outcome", model.outcomes]]) {
    items.forEach((item, k) => {
      Object.assign(item, { color: item[color], ink: item[ink] });
      root.style.setProperty(`--fv-${kind}-${k}`, item.color);
      root.style.setProperty(`--fv-${kind}-${k}-ink`, item.ink);
    });
  }
  const style = getComputedStyle(root);
  model.look = Object.fromEntries(LOOK_NAMES.map((part) => [part, style.getPropertyValue(`--fv-${part}`).trim()]));
}

// A page in a frame, or with storage forbidden, remembers nothing.
function rememberedTheme() {
  try {
    const name = window.localStorage.getItem(THEME_KEY);
    return name === "dark" || name === "light" ? name : null;
  } catch {
    return null;
  }
}

function rememberTheme(name) {
  try {
    window.localStorage.setItem(THEME_KEY, name);
  } catch {
    // It holds until the page is closed.
  }
}
