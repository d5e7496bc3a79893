// The page's one program: fills the form from /v1/models, draws by the event stream of
// /v1/images/generations, and tells how to draw the same again. No library, nothing kept.
"use strict";

const PATH = "/v1/images/generations";
const MAX_HISTORY = 48;
const MOST_BUTTONS = 24; // more classes are a list
const SMALL = 128; // pictures under this many pixels are shown enlarged, pixel by pixel

const $ = (id) => document.getElementById(id);
let models = [];
let drawing = null; // the AbortController of what is being drawn
let key = "";
let past = [];

function headers() {
  const given = { "Content-Type": "application/json" };
  if (key) given.Authorization = `Bearer ${key}`;
  return given;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").className = wrong ? "wrong" : "";
}

async function problemOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the service answered ${response.status}`;
  }
}

async function loadModels() {
  try {
    const response = await fetch("/v1/models", { headers: headers() });
    if (response.status === 401) {
      $("key-row").hidden = false;
      $("draw").disabled = true;
      say(key ? "This key is not valid." : "This service asks for an API key.", Boolean(key));
      $("key").focus();
      return;
    }
    if (!response.ok) throw new Error(await problemOf(response));
    models = (await response.json()).data;
  } catch (error) {
    say(`The models cannot be listed: ${error.message}`, true);
    return;
  }
  $("key-row").hidden = true;
  $("draw").disabled = false;
  fill($("model"), models.map((model) => [model.id, model.id]));
  $("model-row").hidden = models.length < 2;
  chooseModel();
  say("");
}

function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
}

function model() {
  return models.find((each) => each.id === $("model").value) ?? models[0];
}

function chooseModel() {
  const chosen = model();
  $("model-line").textContent = `${chosen.id} · ${chosen.digest.slice(0, 12)}`;
  const named = chosen.kind === "class" && chosen.classes.length > 0;
  const few = named && chosen.classes.length <= MOST_BUTTONS;
  $("class-row").hidden = !few;
  $("class-list-row").hidden = !named || few;
  $("prompt-row").hidden = chosen.kind === "class";
  $("negative-row").hidden = !chosen.negative_prompts;
  if (few) showClasses(chosen.classes);
  else if (named) fill($("class-list"), chosen.classes.map((name) => [name, name]));
  $("steps").max = chosen.max_steps;
  $("steps").value = chosen.defaults.num_steps;
  $("guidance").value = chosen.defaults.guidance;
  $("guidance-row").hidden = !chosen.guidable;
  fill($("sampler"), chosen.samplers.map((name) => [name, name]));
  $("sampler").value = chosen.defaults.sampler;
  const loras = Object.keys(chosen.loras);
  fill($("lora"), [["", "none"], ...loras.map((name) => [name, name])]);
  $("lora-row").hidden = loras.length === 0;
  $("size-row").hidden = chosen.min_side === chosen.max_side;
  for (const side of ["width", "height"]) {
    Object.assign($(side), { min: chosen.min_side, max: chosen.max_side, step: chosen.side_multiple });
    $(side).value = chosen[side];
  }
  if ($("seed").value === "") $("seed").value = "0";
}

function showClasses(names) {
  $("classes").replaceChildren(
    ...names.map((name, number) => {
      const input = Object.assign(document.createElement("input"), {
        type: "radio", name: "class", value: name, checked: number === 0,
      });
      const label = document.createElement("label");
      label.append(input, name);
      return label;
    }),
  );
}

function asked() {
  const chosen = model();
  const body = { model: chosen.id };
  if (chosen.kind === "prompt") {
    body.prompt = $("prompt").value;
    const negative = $("negative").value;
    if (chosen.negative_prompts && negative.trim()) body.negative_prompt = negative;
  } else if (chosen.classes.length > 0) {
    const few = chosen.classes.length <= MOST_BUTTONS;
    body.class = few ? document.querySelector("#classes input:checked").value : $("class-list").value;
  }
  body.seed = Number($("seed").value);
  body.steps = Number($("steps").value);
  if (chosen.guidable) body.guidance_scale = Number($("guidance").value);
  body.sampler = $("sampler").value;
  if ($("lora").value) body.lora = $("lora").value;
  if (chosen.min_side !== chosen.max_side) body.size = `${$("width").value}x${$("height").value}`;
  return body;
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const lines = text.slice(0, end).split("\n");
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length) yield JSON.parse(data.join("\n"));
    }
  }
}

async function draw() {
  if (drawing) return;
  if ($("new-seed").checked) $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
  const body = asked();
  drawing = new AbortController();
  $("draw").disabled = true;
  $("cancel").disabled = false;
  $("progress").hidden = false;
  $("progress").value = 0;
  say("Drawing …");
  $("stage").scrollIntoView({ block: "nearest" }); // on a phone it is below the form
  const began = performance.now();
  try {
    const response = await fetch(PATH, {
      method: "POST", headers: headers(), signal: drawing.signal,
      body: JSON.stringify({ ...body, stream: true, partial_images: 3 }),
    });
    if (!response.ok) throw new Error(await problemOf(response));
    let last = null;
    for await (const event of eventsOf(response)) {
      if (event.error) throw new Error(event.error.message);
      last = event;
      showPicture(event, body);
      $("progress").value = event.type.endsWith("completed") ? 1 : event.step / event.steps;
      if (!event.type.endsWith("completed")) say(`Step ${event.step} of ${event.steps}`);
    }
    if (!last?.type.endsWith("completed")) throw new Error("the connection ended early");
    remember({ ...last, body });
    say(`Drawn in ${((performance.now() - began) / 1000).toFixed(1)} s.`);
  } catch (error) {
    if (error.name === "AbortError") say("Cancelled.");
    else say(`Not drawn: ${error.message}`, true);
  } finally {
    drawing = null;
    $("draw").disabled = false;
    $("cancel").disabled = true;
    $("progress").hidden = true;
  }
}

function subjectOf(body) {
  return body.prompt ?? body.class ?? body.model;
}

function source(event) {
  return `data:image/${event.output_format};base64,${event.b64_json}`;
}

function isSmall(event) {
  return Math.max(...event.size.split("x").map(Number)) < SMALL;
}

function showPicture(event, body) {
  const finished = event.type.endsWith("completed");
  $("picture").src = source(event);
  $("picture").className = isSmall(event) ? "small" : "";
  $("picture").alt = `${finished ? "Picture" : "Preview"} of ${subjectOf(body)}`;
  $("picture").hidden = false;
  $("empty").hidden = true;
  $("after").hidden = $("code").hidden = !finished;
  $("caption").textContent = finished
    ? `${subjectOf(body)} · seed ${event.seed} · ${event.steps} steps · ${event.sampler} · ${event.size}`
    : `${subjectOf(body)} · preview`;
  if (!finished) return;
  $("save").href = source(event);
  $("save").download = `${event.model}-${event.seed}.${event.output_format}`;
  $("curl").textContent = curlLine(body);
  $("python").textContent = pythonLines(body);
}

function remember(drawn) {
  past = [drawn, ...past].slice(0, MAX_HISTORY);
  $("no-history").hidden = true;
  showPast(drawn);
}

function showPast(current) {
  $("history").replaceChildren(
    ...past.map((drawn) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      const picture = Object.assign(document.createElement("img"), {
        src: source(drawn), alt: "", className: isSmall(drawn) ? "small" : "",
      });
      const text = document.createElement("span");
      text.textContent = `${subjectOf(drawn.body)} · ${drawn.seed}`;
      button.append(picture, text);
      button.setAttribute("aria-label", `Show ${subjectOf(drawn.body)}, seed ${drawn.seed}`);
      button.setAttribute("aria-current", String(drawn === current));
      button.addEventListener("click", () => recall(drawn));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

function recall(drawn) {
  const place = past.indexOf(drawn);
  const body = drawn.body;
  $("model").value = body.model;
  chooseModel();
  if (body.prompt !== undefined) $("prompt").value = body.prompt;
  $("negative").value = body.negative_prompt ?? "";
  const option = [...document.querySelectorAll("#classes input")].find((each) => each.value === body.class);
  if (option) option.checked = true;
  else if (body.class !== undefined) $("class-list").value = body.class;
  $("seed").value = body.seed;
  $("new-seed").checked = false;
  $("steps").value = body.steps;
  if (body.guidance_scale !== undefined) $("guidance").value = body.guidance_scale;
  $("sampler").value = body.sampler;
  $("lora").value = body.lora ?? "";
  if (body.size) [$("width").value, $("height").value] = body.size.split("x");
  showPicture(drawn, body);
  showPast(drawn);
  $("history").children[place]?.querySelector("button").focus();
}

function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function curlLine(body) {
  const auth = key ? ' -H "Authorization: Bearer $DARKROOM_API_KEY"' : "";
  const save =
    "python3 -c 'import base64, json, sys; " +
    'sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["data"][0]["b64_json"]))\' > picture.png';
  return (
    `curl -s ${location.origin}${PATH} -H 'Content-Type: application/json'${auth} ` +
    `-d ${shellQuoted(JSON.stringify(body))} | ${save}`
  );
}

function pythonLines(body) {
  const { model: name, prompt, size, ...extra } = body;
  const secret = key ? 'os.environ["DARKROOM_API_KEY"]' : '"none"';
  const given = [`model=${JSON.stringify(name)}`, `prompt=${JSON.stringify(prompt ?? "")}`];
  if (size) given.push(`size=${JSON.stringify(size)}`);
  given.push(`extra_body=${JSON.stringify(extra)}`);
  return [
    `import base64${key ? ", os" : ""}`,
    "from openai import OpenAI",
    `client = OpenAI(base_url="${location.origin}/v1", api_key=${secret})`,
    `answer = client.images.generate(${given.join(", ")})`,
    'open("picture.png", "wb").write(base64.b64decode(answer.data[0].b64_json))',
  ].join("\n");
}

async function copy(button) {
  const code = $(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(code.textContent);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(code);
    say("Selected; copy it with your keyboard.");
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  draw();
});
$("cancel").addEventListener("click", () => drawing?.abort());
$("model").addEventListener("change", chooseModel);
$("use-key").addEventListener("click", () => {
  key = $("key").value.trim();
  loadModels();
});
$("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  $("use-key").click();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") drawing?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy(button));
}
loadModels();
