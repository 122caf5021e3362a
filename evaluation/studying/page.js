"use strict"
const $ = id => document.getElementById(id)
const study = JSON.parse($("study").textContent)
const PLACE = `study-${study.study}`
const blobs = {}
let state, screens, group = null, cards = [], current = 0, since = 0

// ---- chance: the same for the same participant, also after a reload

function randomNumbers(text) {
  let number = 2166136261
  for (const letter of text) number = Math.imul(number ^ letter.codePointAt(0), 16777619)
  return () => {
    number = (number + 0x6d2b79f5) | 0
    let mixed = Math.imul(number ^ (number >>> 15), 1 | number)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function shuffled(list, text) {
  const random = randomNumbers(text), mixed = [...list]
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [mixed[i], mixed[j]] = [mixed[j], mixed[i]]
  }
  return mixed
}

function screensOf(participant) {
  return shuffled(study.questions, participant).flatMap(question => {
    const clips = shuffled(question.clips, `${participant} ${question.name}`)
    return study.criteria.map(criterion => ({ question: question.name, clips, criterion }))
  })
}

// ---- what is kept

function fresh() {
  const bytes = crypto.getRandomValues(new Uint8Array(8))
  const participant = Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("")
  return { participant, at: -1, played: {}, broken: {}, answers: {} }
}

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE))
    if (kept && kept.participant && kept.answers && kept.played && Number.isInteger(kept.at)) return { ...kept, broken: {} }
  } catch { /* nothing, or nothing of ours */ }
  return fresh()
}

function keep() {
  try {
    localStorage.setItem(PLACE, JSON.stringify(state))
  } catch {
    $("kept").textContent = "This browser keeps nothing: please leave the page open until you have saved the file."
  }
}

// ---- screens

const screen = () => screens[state.at]
const place = ({ question, criterion }) => `${question} ${criterion.name}`
const answer = () => (state.answers[place(screen())] ??= { choice: null, seconds: 0 })

function show() {
  pauseAll()
  const asking = state.at >= 0 && state.at < screens.length
  $("start").hidden = state.at >= 0
  $("ask").hidden = $("head").hidden = $("foot").hidden = !asking
  $("end").hidden = asking || state.at < 0
  if (asking) showQuestion()
  else dropClips()
  if (!$("end").hidden) {
    $("answers").value = written()
    $("done").textContent = ""
  }
  since = performance.now()
  scrollTo(0, 0)
  document.querySelector("section:not([hidden]) h1").focus({ preventScroll: true })
}

function showQuestion() {
  const { question, criterion } = screen(), each = study.criteria.length
  $("where").textContent = `Group ${Math.floor(state.at / each) + 1} of ${study.questions.length}, ` +
    `question ${state.at % each + 1} of ${each}`
  $("progress").max = screens.length
  $("progress").value = state.at
  $("question").textContent = criterion.ask
  $("hint").textContent = criterion.hint
  if (group !== question) showClips()
  refresh()
}

function showClips() {
  dropClips()
  group = screen().question
  cards = screen().clips.map(card)
  current = 0
  advance()
  $("clips").replaceChildren(...cards.map(one => one.box))
}

function dropClips() {
  for (const { video } of cards) { video.removeAttribute("src"); video.load() }
  $("clips").replaceChildren()
  cards = []
  group = null
}

function element(tag, properties = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...inside)
  return made
}

function key(name) {
  const made = element("kbd", { textContent: name })
  made.setAttribute("aria-hidden", "true")
  return made
}

function source(name) {
  const inside = $(`clip-${name}`)
  if (!inside) return `clips/${name}.mp4#t=0.001`  // the fragment makes iPhones show the first picture
  const bytes = () => Uint8Array.from(atob(inside.textContent), letter => letter.charCodeAt(0))
  return (blobs[name] ??= URL.createObjectURL(new Blob([bytes()], { type: "video/mp4" }))) + "#t=0.001"
}

function card({ name, width, height }, index) {
  const video = element("video", { src: source(name), playsInline: true, preload: "auto", width, height })
  video.disablePictureInPicture = true
  video.style.aspectRatio = `${width} / ${height}`
  const done = element("div")
  const label = element("span")
  const play = element("button", { type: "button" }, label)
  const choose = element("button", { type: "button" }, `Choose ${index + 1}`)
  const box = element("div", { className: "clip" }, video, element("div", { className: "played" }, done),
    key("Space"), element("div", { className: "pair" }, play, choose))
  box.setAttribute("role", "group")
  box.setAttribute("aria-label", `Clip ${index + 1}`)
  const made = { name, video, play, label, choose, box, done }
  play.onclick = video.onclick = () => { current = index; toggle() }
  choose.onclick = () => pick(index)
  video.onplay = video.onpause = refresh
  video.ontimeupdate = () => { done.style.width = `${100 * video.currentTime / (video.duration || Infinity)}%` }
  video.onended = () => {
    done.style.width = "100%"
    state.played[name] = true
    keep()
    advance()
    refresh()
  }
  video.onerror = () => {
    if (!video.hasAttribute("src")) return
    state.broken[name] = true
    refresh()
  }
  if (state.played[name]) done.style.width = "100%"
  return made
}

// ---- what the participant does

function advance() {
  const open = cards.findIndex(({ name }) => !state.played[name] && !state.broken[name])
  if (open >= 0) current = open
}

function pauseAll(but) {
  for (const { video } of cards) if (video !== but) video.pause()
}

function toggle() {
  const { video, box } = cards[current]
  if (!video.paused) return video.pause()
  box.scrollIntoView({ block: "nearest" })
  pauseAll(video)
  video.play().catch(error => {
    if (error.name === "NotAllowedError") $("status").textContent = "The browser did not play it: press Play once more."
  })
}

function pick(index) {
  if (!cards[index] || broken().length) return
  answer().choice = cards[index].name
  keep()
  refresh()
}

const numbers = test => cards.flatMap(({ name }, index) => test(name) ? [index + 1] : [])
const broken = () => numbers(name => state.broken[name])

function missing() {
  if (broken().length) return ""
  const unheard = numbers(name => !state.played[name])
  const needs = []
  if (unheard.length) needs.push(`play ${named(unheard)} to the end`)
  if (!answer().choice) needs.push(`choose ${unheard.length ? "one" : "a clip"}`)
  return needs.length ? `To go on, ${needs.join(" and ")}.` : ""
}

const named = clips => clips.length < 2
  ? `clip ${clips[0]}`
  : `clips ${clips.slice(0, -1).join(", ")} and ${clips[clips.length - 1]}`

function refresh() {
  if (!cards.length || !screen()) return
  const chosen = answer().choice
  cards.forEach(({ name, video, play, label, choose, box }, index) => {
    const word = !video.paused ? "Pause" : state.played[name] ? "Replay" : "Play"
    label.textContent = `${video.paused ? "▶" : "❚❚"} ${word} ${index + 1}`
    play.setAttribute("aria-label", `${word} ${index + 1}`)
    choose.setAttribute("aria-pressed", String(name === chosen))
    box.classList.toggle("chosen", name === chosen)
    box.classList.toggle("current", index === current)
  })
  const why = missing(), lost = broken()
  $("next").setAttribute("aria-disabled", String(Boolean(why)))
  const said = lost.length
    ? `This browser does not play ${named(lost)}. Load the page again, or go on without an answer.`
    : why || "Ready: go on when you like."
  if ($("status").textContent !== said) $("status").textContent = said
}

function count() {
  if (screen() && !document.hidden) answer().seconds += (performance.now() - since) / 1000
  since = performance.now()
}

function go(step) {
  if (step > 0 && screen() && missing()) return $("status").animate?.({ opacity: [.2, 1] }, 300)
  if (screen() && step > 0 && broken().length) answer().choice = null
  count()
  state.at = Math.max(-1, Math.min(screens.length, state.at + step))
  keep()
  show()
}

// ---- answers

function written() {
  const answers = screens.flatMap(one => {
    const given = state.answers[place(one)]
    if (!given?.choice) return []
    return [{ question: one.question, criterion: one.criterion.name, choice: given.choice,
      shown: one.clips.map(({ name }) => name), seconds: Math.round(given.seconds * 10) / 10 }]
  })
  const lines = answers.map(one => JSON.stringify(one)).join(",\n")
  return `{"study": ${JSON.stringify(study.study)}, "participant": "${state.participant}", "answers": [\n${lines}\n]}\n`
}

$("save").onclick = () => {
  const address = URL.createObjectURL(new Blob([written()], { type: "application/json" }))
  element("a", { href: address, download: `answers-${study.study}-${state.participant}.json` }).click()
  setTimeout(() => URL.revokeObjectURL(address), 60000)
  $("done").textContent = "The file is among your downloads. If not, send the text below."
}

$("copy").onclick = async () => {
  let copied = true
  try {
    await navigator.clipboard.writeText($("answers").value)
  } catch {
    $("answers").select()
    copied = document.execCommand("copy")
  }
  $("done").textContent = copied ? "Copied." : "This browser does not copy: select the text below."
}

$("anew").onclick = () => {
  if (!confirm("Have the answers been saved? They are deleted from this browser now.")) return
  begin(fresh())
}

$("begin").onclick = () => go(1)
$("next").onclick = () => go(1)
$("back").onclick = () => go(-1)
$("again").onclick = () => go(-1)
$("keys").onchange = () => document.body.classList.toggle("keys", $("keys").checked)
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return void (since = performance.now())
  if (screen()) answer().seconds += (performance.now() - since) / 1000
  pauseAll()
  keep()
})
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || !$("keys").checked) return
  if (event.target.closest("textarea")) return
  if (event.key === "ArrowRight" && $("end").hidden && !event.repeat) go(1)
  else if (event.key === "ArrowLeft" && !event.repeat) go(-1)
  else if (!screen()) return
  else if (/^[1-9]$/.test(event.key)) pick(Number(event.key) - 1)
  else if (event.key === " " && !event.target.closest("button, summary, input, a")) { if (!event.repeat) toggle() }
  else return
  event.preventDefault()
})

function begin(first) {
  state = first
  screens = screensOf(state.participant)
  state.at = Math.max(-1, Math.min(screens.length, state.at))
  keep()
  show()
}

const answersInAll = study.questions.length * study.criteria.length
$("amount").textContent = `There are ${study.questions.length} ${study.questions.length === 1 ? "group" : "groups"} of ` +
  `${study.questions[0].clips.length} clips, which makes ${answersInAll} answers.`
begin(load())
