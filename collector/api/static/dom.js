// Small hands for the DOM. Text always goes in as text: names from the field can never become markup.
export const $ = (id) => document.getElementById(id);

/** An element with properties, dataset entries (data-*), attributes (aria-*, role) and children. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (key.includes("-") || key === "role") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A shape from the sprite in index.html. */
export function shape(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.classList.add("mark", name);
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

/** Only touch the page where something changed: a screen reader and a text selection will thank us. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Mark one of a group's buttons as the chosen one. */
export function press(group, key, value) {
  for (const button of group.querySelectorAll(`[data-${key}]`)) {
    button.setAttribute("aria-pressed", String(button.dataset[key] === String(value)));
  }
}

/** What was chosen last time; private windows may forbid it. */
export const kept = {
  get(key, fallback) {
    try {
      return localStorage.getItem(`nagari.${key}`) ?? fallback;
    } catch {
      return fallback;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`nagari.${key}`, value);
    } catch {
      /* it is only a convenience */
    }
  },
};
