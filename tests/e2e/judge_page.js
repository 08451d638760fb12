// The basics of accessibility, as sentences about what is wrong: names, headings, labels, contrast (WCAG 2.2, AA).
() => {
  const wrong = [];
  const all = selector => [...document.querySelectorAll(selector)];
  const parse = colour => { const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const light = ({ r, g, b }) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((m, n) => n - m); return (x + 0.05) / (y + 0.05); };
  const visible = one => one.checkVisibility({ visibilityProperty: true }) && !one.closest(".spoken, details:not([open]) > :not(summary)");
  const ground = one => {
    const hop = one.closest?.(".hop");
    if (hop) return parse(getComputedStyle(hop.querySelector(one.classList.contains("word") ? ".tag" : ".card")).fill);
    for (let up = one; up; up = up.parentElement) {
      const colour = parse(getComputedStyle(up).backgroundColor);
      if (colour.a === 1) return colour;
    }
    return { r: 255, g: 255, b: 255 };
  };
  if (!document.documentElement.lang) wrong.push("the document has no language");
  if (!document.title) wrong.push("the document has no title");
  if (all("h1").length !== 1) wrong.push(`${all("h1").length} h1`);
  if (all("main").length !== 1) wrong.push("not one main");
  all("h1,h2,h3,h4").map(one => Number(one.tagName[1])).reduce((before, level) => {
    if (level > before + 1) wrong.push(`h${level} after h${before}`);
    return level;
  }, 0);
  const ids = all("[id]").map(one => one.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) wrong.push(`id ${id} is used twice`);
  for (const one of all("[aria-labelledby]")) for (const id of one.getAttribute("aria-labelledby").split(" "))
    if (!document.getElementById(id)) wrong.push(`${one.tagName} is labelled by ${id}, which is not there`);
  for (const one of all("input:not([type=hidden])")) if (!one.labels.length) wrong.push(`${one.name}: no label`);
  for (const one of all("a[href], button, summary")) if (!(one.textContent.trim() || one.getAttribute("aria-label"))) wrong.push(`${one.outerHTML}: no name`);
  for (const one of all("svg")) if (one.getAttribute("aria-hidden") !== "true" && !(one.getAttribute("role") === "img" && (one.hasAttribute("aria-label") || one.hasAttribute("aria-labelledby"))))
    wrong.push(`a picture without words: ${one.outerHTML.slice(0, 80)}`);
  for (const one of all("th")) if (!one.scope) wrong.push(`${one.textContent}: a heading of nothing`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !visible(one) || one.closest("title, desc")) continue;
    const style = getComputedStyle(one), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = contrast(parse(one.closest("svg") ? style.fill : style.color), ground(one));
    if (ratio < (large ? 3 : 4.5)) wrong.push(`${walker.currentNode.data.trim().slice(0, 40)}: contrast ${ratio.toFixed(2)}`);
  }
  if (document.scrollingElement.scrollWidth > innerWidth) wrong.push(`wider than the window: ${document.scrollingElement.scrollWidth}`);
  return wrong;
}
