// Renders the Markdown that models like: paragraphs, lists, blocks of code, **bold**, *italic* and `code`. It builds
// elements and never parses HTML, so that nothing in a message can become code of the page. The text may end anywhere.
const INLINE = /`([^`]+)`|\*\*(.+?)\*\*|\*(.+?)\*|\\\n/gs

export function render(text) {
  const blocks = document.createDocumentFragment()
  for (const [index, part] of text.split(/^```/m).entries()) {
    if (index % 2) blocks.append(code(part))
    else for (const block of part.split(/\n{2,}/)) if (block.trim()) blocks.append(element(block.trim()))
  }
  return blocks
}

function code(text) {
  const pre = document.createElement("pre")
  pre.tabIndex = 0 // it may scroll, also by the keyboard
  pre.append(document.createElement("code"))
  pre.firstChild.textContent = text.replace(/^\w*\n?/, "").replace(/\n$/, "")
  return pre
}

function element(block) {
  const mark = /^(?:\d+\.|-) /
  if (!mark.test(block)) return inline(document.createElement("p"), block)

  const list = document.createElement(block.startsWith("-") ? "ul" : "ol")
  for (const item of block.split(/\n(?=(?:\d+\.|-) )/)) {
    list.append(inline(document.createElement("li"), item.replace(mark, "")))
  }
  return list
}

function inline(parent, text) {
  let end = 0
  for (const match of text.matchAll(INLINE)) {
    parent.append(text.slice(end, match.index).replace(/\s+/g, " "))
    end = match.index + match[0].length
    if (match[1]) parent.append(wrap("code", match[1]))
    else if (match[2]) parent.append(wrap("strong", match[2]))
    else if (match[3]) parent.append(wrap("em", match[3]))
    else parent.append(document.createElement("br"))
  }
  parent.append(text.slice(end).replace(/\s+/g, " "))
  return parent
}

function wrap(name, text) {
  const element = document.createElement(name)
  element.textContent = text
  return element
}
