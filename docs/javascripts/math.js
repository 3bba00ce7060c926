// Typesets what pymdownx.arithmatex marks, on every page change.
document$.subscribe(({ body }) => {
  if (typeof renderMathInElement === "undefined") return;  // no network: the formulas stay as they were written
  renderMathInElement(body, {
    delimiters: [
      { left: "\\[", right: "\\]", display: true },
      { left: "\\(", right: "\\)", display: false },
    ],
  });
});
