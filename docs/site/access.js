// What the theme leaves out for readers without a mouse: wide tables take the focus, empty
// corners of tables are no headers, and the navigations of code blocks have names of their own.
const complete = () => {
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((wrap) => (wrap.tabIndex = 0));
  document.querySelectorAll("th:empty").forEach((cell) => {
    cell.replaceWith(document.createElement("td")); // a corner heads nothing
  });
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav) => {
    nav.setAttribute("aria-label", `Code block ${nav.parentElement.id.replace(/\D/g, "")}`);
  });
};
new MutationObserver(complete).observe(document.documentElement, { childList: true, subtree: true });
complete();
