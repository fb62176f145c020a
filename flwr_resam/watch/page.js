"use strict";
const holder = document.getElementById("data");
const live = holder.dataset.live === "true";
const byId = (id) => document.getElementById(id);
// Plotly reads some HTML in its texts; what nodes say is no HTML.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const layout = (more) => Object.assign({
  margin: {l: 55, r: 12, t: 30, b: 36}, paper_bgcolor: "#fff", plot_bgcolor: "#fff", showlegend: true, uirevision: "kept",
  legend: {orientation: "h", y: 1.18, x: 0}, hovermode: "x unified", xaxis: {title: {text: "round"}, rangemode: "tozero"},
}, more);
const config = {displaylogo: false, responsive: true};
const order = ["server/accuracy", "evaluate/accuracy"];
let chosen = null;

function keys(view) {
  const counts = /^train\/(n-|f-effective)/;
  const all = Object.keys(view.series).filter((key) => !counts.test(key)).sort();
  const first = order.filter((key) => all.includes(key));
  const likely = all.filter((key) => !first.includes(key) && /acc/.test(key));
  return [...first, ...likely, ...all.filter((key) => !first.includes(key) && !likely.includes(key))];
}

function curve(view) {
  const select = byId("metric"), names = keys(view);
  if (!names.includes(chosen)) chosen = names[0] || null;
  if (select.dataset.names !== names.join("\n")) {
    select.dataset.names = names.join("\n");
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  }
  const lines = chosen === null ? [] : [{
    x: view.rounds, y: view.series[chosen], name: plain(chosen), mode: view.rounds.length < 60 ? "lines+markers" : "lines",
    connectgaps: true, line: {color: "#0b5394", width: 2},
  }];
  Plotly.react("curve", lines, layout({yaxis: {title: {text: plain(chosen || "no metrics yet")}}, showlegend: false}), config);
}

function counts(view) {
  const parts = [["train/n-valid", "valid", "#0b5394"], ["train/n-rejected", "rejected", "#d62718"],
                 ["train/n-silent", "silent", "#999999"], ["train/f-effective", "f of the round", "#e69f00"]];
  const lines = parts.filter(([key]) => key in view.series).map(([key, name, color], index) => ({
    x: view.rounds, y: view.series[key], name, mode: "lines", line: {color, width: 2, shape: "hvh", dash: index === 3 ? "dot" : "solid"},
  }));
  Plotly.react("counts", lines, layout({yaxis: {title: {text: "nodes"}, rangemode: "tozero"}}), config);
}


function cells(view) {
  const names = view.nodes.map((node) => plain(node.name));
  byId("cells").style.height = `${Math.max(140, 90 + 13 * names.length)}px`;
  Plotly.react("cells", [{
    type: "heatmap", x: view.rounds, y: names, z: view.cells, zmin: -2.5, zmax: 1, colorscale: [
      [0, "#d62718"], [1 / 3.5, "#d62718"], [1 / 3.5, "#999999"], [2 / 3.5, "#999999"],
      [2 / 3.5, "#edcc8c"], [2.5 / 3.5, "#edcc8c"], [1, "#08529c"]],
    xgap: view.rounds.length < 200 ? 1 : 0, ygap: 1, hoverongaps: false,
    colorbar: {thickness: 12, tickvals: [-2, -1, 0, 1], ticktext: ["rejected", "silent", "kept out", "in it"]},
    hovertemplate: "node %{y}, round %{x}: %{z}<extra></extra>",
  }], layout({hovermode: "closest", yaxis: {type: "category", autorange: "reversed", tickfont: {size: 10}}, margin: {l: 75, r: 12, t: 30, b: 36}}), config);
}

function table(view) {
  const two = (value) => value === null ? "" : value < 1e4 ? value.toFixed(2) : value.toExponential(0);
  byId("nodes").replaceChildren(...view.nodes.map((node) => {
    const row = document.createElement("tr");
    if (node.remarks.length) row.className = "look";
    const why = node.remarks.join("; ") + (node.reason ? ` (${node.reason})` : "");
    for (const text of [node.name, node.node, node.asked, node.rejected || "", node.silent || "", two(node.share), two(node.distance), why]) {
      const cell = document.createElement("td");
      cell.textContent = String(text);
      row.append(cell);
    }
    return row;
  }));
}

function show(view, note) {
  const look = view.nodes.filter((node) => node.remarks.length).length;
  byId("folder").textContent = view.folder;
  byId("state").textContent = `${view.rounds.length} rounds, ${view.nodes.length} nodes, ${look} to look at${note}`;
  curve(view); counts(view); cells(view); table(view);
}

let view = JSON.parse(holder.textContent), tag = null;
byId("metric").addEventListener("change", (event) => { chosen = event.target.value; curve(view); });
show(view, "");

async function refresh() {
  let note = "";
  try {
    const answer = await fetch("/data.json", tag ? {headers: {"If-None-Match": tag}} : {});
    if (answer.status === 200) { view = await answer.json(); tag = answer.headers.get("ETag"); show(view, ""); }
    else if (answer.status !== 304) note = ` - ${await answer.text()}`;
  } catch { note = " - the server of this page does not answer any more"; }
  if (note) byId("state").textContent += byId("state").textContent.endsWith(note) ? "" : note;
  setTimeout(refresh, document.hidden ? 10000 : 2000);
}
if (live) setTimeout(refresh, 2000);
