// Progressive enhancement: local times, theme, live panels, charts, copying, dialogs.
(() => {
  "use strict";

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const exact = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  // The zone as its distance from UTC at that time: `UTC+1`.
  const offset = (at) => {
    const minutes = -at.getTimezoneOffset();
    const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
    return minutes ? `UTC${minutes < 0 ? "−" : "+"}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}` : "UTC";
  };

  const dayAndMonth = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const dayOfUtc = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });

  // Pages contain UTC times. Show them in the viewer's zone, and UTC in the tooltip.
  function localTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-done])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const utc = `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
      const hour = ("seconds" in time.dataset ? exact : clock).format(at);
      time.textContent = `${day.format(at)}, ${hour} ${offset(at)}`;
      time.title = `${utc} (shown in ${zone})`;
      time.dataset.done = "";
    }
  }

  // uPlot paints on a canvas, which cannot resolve light-dark().
  function resolved(name) {
    const probe = document.createElement("span");
    probe.className = name;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  }

  // The charts of the page by their boxes. A chart whose box left the page is destroyed.
  const drawn = new Map();
  const resized = new ResizeObserver((changes) => {
    for (const { target } of changes) drawn.get(target)?.chart.setSize(sizeOf(target));
  });
  const sizeOf = (box) => ({ width: Math.max(240, box.clientWidth), height: 170 });

  function forget(box) {
    drawn.get(box)?.chart.destroy();
    resized.unobserve(box);
    drawn.delete(box);
  }

  function charts(root, { redraw = false } = {}) {
    if (!window.uPlot) return;
    for (const box of drawn.keys()) if (!box.isConnected) forget(box);
    for (const box of root.querySelectorAll(".chart[data-series]")) {
      const { times, series, lines, tones, unit, daily } = box.dataset;
      const kind = [lines, tones, unit, daily].join();
      const data = [JSON.parse(times), ...JSON.parse(series)];
      const known = drawn.get(box);
      if (!redraw && known?.kind === kind) {
        if (known.series !== series || known.times !== times) known.chart.setData(data);
        Object.assign(known, { series, times });
        continue;
      }
      forget(box);
      box.replaceChildren();
      drawn.set(box, { kind, series, times, chart: plot(box, data) });
      resized.observe(box);
    }
  }

  function plot(box, data) {
    const soft = resolved("tone-quiet");
    const { unit, daily, mark } = box.dataset;
    // A vertical line at a time, such as the start of an incident.
    const marked = (chart) => {
      const x = chart.valToPos(Number(mark), "x", true);
      if (mark === undefined || x < chart.bbox.left) return;
      chart.ctx.fillStyle = resolved("tone-bad");
      chart.ctx.fillRect(x, chart.bbox.top, 1.5, chart.bbox.height);
    };
    const tones = JSON.parse(box.dataset.tones);
    // A line through few measurements is not seen without its points.
    const sparse = (chart, line) => chart.data[line].filter((value) => value !== null).length < 25;
    const shown = (_, value) => (value === null || value === undefined ? "–" : `${value.toLocaleString()} ${unit}`);
    const lines = JSON.parse(box.dataset.lines).map((label, index) => ({
      label, stroke: resolved(`tone-${tones[index]}`), width: 1.6, value: shown, points: { show: sparse, size: 4 },
    }));
    const isLong = (ticks) => ticks.at(-1) - ticks[0] > 90000;
    const tick = (x, long) => {
      const at = new Date(x * 1000);
      if (daily !== undefined) return dayOfUtc.format(at);
      return long ? `${dayAndMonth.format(at)} ${clock.format(at)}` : clock.format(at);
    };
    const axis = { stroke: soft, grid: { stroke: soft, width: 0.15 }, ticks: { show: false }, font: "11px system-ui", labelFont: "11px system-ui", labelSize: 16 };
    return new uPlot({
      ...sizeOf(box), cursor: { y: false }, hooks: { draw: [marked] },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      series: [{ label: "Time", value: (chart, x) => (x === null ? "–" : tick(x, isLong(chart.data[0]))) }, ...lines],
      axes: [
        {
          ...axis, size: 28, space: (chart) => (isLong(chart.data[0]) ? 95 : 60), label: daily !== undefined ? "UTC" : zone,
          values: (chart, ticks) => ticks.map((x) => tick(x, isLong(chart.data[0]))),
        },
        { ...axis, size: 52, label: unit },
      ],
    }, data, box);
  }

  function timers(root) {
    for (const box of root.querySelectorAll("[data-running-since]")) {
      const gone = Math.max(0, Math.floor((Date.now() - new Date(box.dataset.runningSince).getTime()) / 1000));
      const parts = [Math.floor(gone / 3600), Math.floor(gone / 60) % 60, gone % 60].map((n) => String(n).padStart(2, "0"));
      box.textContent = parts.join(":");
    }
    for (const box of root.querySelectorAll("[data-until]")) {
      const left = Math.max(0, Math.round((new Date(box.dataset.until).getTime() - Date.now()) / 1000));
      box.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    }
  }

  // On a phone each row of a list is a card, whose cells are labelled by the columns (console.css).
  function cards(root) {
    for (const table of root.querySelectorAll(".scroll > table:not(.diff, .fleet, [data-cards])")) {
      const labels = [...(table.tHead?.rows[0]?.cells ?? [])].map((head) => (head.querySelector(".unseen") ? "" : head.textContent.trim()));
      if (!labels.length) continue;
      for (const row of [...table.tBodies].flatMap((body) => [...body.rows])) {
        [...row.cells].forEach((cell, index) => { if (labels[index] && (index > 0 || cell.classList.contains("n"))) cell.dataset.label = labels[index]; });
      }
      table.dataset.cards = "";
    }
  }

  function enhance(root) {
    mirror();
    cards(root);
    localTimes(root);
    charts(root);
    timers(root);
  }

  // Change only what differs in a live panel, so that focus, hovered charts and scrolled tables stay. What the
  // reader opened stays open, because the configuration of htmx (frame.html) ignores the attribute.
  const renew = (panel, html) =>
    htmx.swap({ text: html, target: panel, sourceElement: panel, swap: "innerMorph", transition: false });

  function live() {
    let panel = document.querySelector("[data-live]");
    if (!panel || !window.EventSource) return;
    const sign = document.getElementById("live");
    let source, later, news, waited = 0, ended = false;
    const say = (on, words) => {
      if (!sign) return;
      sign.classList.toggle("on", on);
      sign.textContent = words;
    };
    // Do not replace the panel while text in it is selected.
    const show = () => {
      const marked = getSelection();
      if (news === undefined || panel.dataset.paused !== undefined || (!marked.isCollapsed && panel.contains(marked.anchorNode))) return;
      renew(panel, news);
      news = undefined;
    };
    const begin = () => {
      if (ended || document.hidden || panel.dataset.paused !== undefined || (source && source.readyState !== EventSource.CLOSED)) return;
      source = new EventSource(panel.dataset.live);
      source.addEventListener("open", () => { waited = 0; say(true, "Live"); });
      source.addEventListener("error", () => {
        say(false, "Reconnecting…");
        // The browser reconnects automatically, except after a response that is no stream, such as a 502.
        if (source.readyState !== EventSource.CLOSED) return;
        // A redirect means that the session ended: show the sign-in page.
        fetch(panel.dataset.live, { method: "HEAD", redirect: "manual" })
          .then((answer) => { if (answer.type === "opaqueredirect") location.reload(); }, () => {});
        waited = Math.min(60, waited * 2 || 5);
        later = setTimeout(begin, waited * 1000);
      });
      source.addEventListener("panel", (sent) => { news = sent.data; show(); });
      source.addEventListener("settled", () => { ended = true; source.close(); say(false, "Settled"); });
      source.addEventListener("gone", () => { ended = true; source.close(); location.reload(); });
    };
    const end = () => {
      clearTimeout(later);
      source?.close();
      if (!ended) say(false, panel.dataset.paused === undefined ? "As of now" : "Paused");
    };
    begin();
    // A search replaces the panel by one with another address.
    document.addEventListener("htmx:after:swap", () => {
      const next = document.querySelector("[data-live]");
      if (!next || next === panel) return;
      panel = next;
      news = undefined;
      clearTimeout(later);
      source?.close();
      begin();
    });
    document.addEventListener("selectionchange", show);
    document.addEventListener("live:pause", () => { end(); say(false, "Paused"); });
    document.addEventListener("live:resume", () => { say(false, "Connecting…"); begin(); });
    // Browsers open six connections per host. Hidden tabs close theirs, or the seventh tab never loads.
    document.addEventListener("visibilitychange", () => { if (document.hidden) end(); else begin(); });
    addEventListener("pagehide", end);
    addEventListener("pageshow", (shown) => { if (shown.persisted) begin(); });
  }

  // navigator.clipboard needs TLS or localhost. Otherwise use execCommand, or select the text.
  async function copied(from) {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(from.textContent);
      return true;
    }
    const hidden = from.hidden;
    from.hidden = false;
    from.closest("details")?.setAttribute("open", ""); // what is folded cannot be selected
    getSelection().selectAllChildren(from);
    const done = document.execCommand("copy");
    from.hidden = hidden;
    if (done) getSelection().removeAllRanges();
    return done;
  }

  document.addEventListener("click", async (click) => {
    const button = click.target.closest("button");
    if (!button) return;
    if (button.id === "theme") {
      const dark = document.documentElement.dataset.theme
        ? document.documentElement.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      document.documentElement.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("theme", dark ? "light" : "dark");
      charts(document, { redraw: true });
    } else if (button.dataset.copy) {
      const was = button.textContent;
      const done = await copied(document.getElementById(button.dataset.copy)).catch(() => false);
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { button.textContent = was; }, 1500);
    } else if (button.dataset.opens) {
      const dialog = document.getElementById(button.dataset.opens);
      dialog.showModal();
      // The Enter that opened it, if it is held, must not confirm.
      if (document.activeElement.matches(".danger")) dialog.querySelector("[data-closes]").focus();
    } else if (button.dataset.closes !== undefined) {
      button.closest("dialog").close();
    }
  });

  // Show fields that depend on a choice only for that choice.
  function conditional() {
    for (const part of document.querySelectorAll("[data-when]")) {
      const [name, ...values] = part.dataset.when.split(" ");
      const chosen = document.querySelector(`[name="${name}"]:checked`) || document.querySelector(`select[name="${name}"], input[name="${name}"]:not([type="radio"])`);
      part.hidden = !chosen || !values.includes(chosen.value);
    }
  }

  // Send a form once: a double click must not create two things.
  document.addEventListener("submit", (sent) => {
    const form = sent.target;
    if (form.method !== "post" || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent !== undefined) sent.preventDefault();
    form.dataset.sent = "";
    setTimeout(() => { delete form.dataset.sent; }, 5000); // allow another try after a cancelled request
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
  });

  document.addEventListener("change", conditional);
  // Show the help text of the selected option.
  document.addEventListener("change", (chosen) => {
    const message = document.getElementById(chosen.target.dataset?.helpTarget || "");
    if (message) message.textContent = chosen.target.selectedOptions[0]?.dataset.help || "";
  });
  document.addEventListener("input", (typed) => {
    const field = typed.target;
    if (!(field instanceof HTMLElement) || !field.dataset.limit) return;
    const message = document.getElementById(field.dataset.counter);
    if (message) message.textContent = `${field.value.length} of ${field.dataset.limit}`;
  });
  document.addEventListener("htmx:after:swap", () => enhance(document));
  // Dim a fragment while it loads; show an error in its place if loading fails.
  const place = (event) => {
    const target = event.detail?.ctx?.target;
    return typeof target === "string" ? document.querySelector(target) : target;
  };
  document.addEventListener("htmx:before:request", (event) => place(event)?.setAttribute("aria-busy", "true"));
  document.addEventListener("htmx:finally:request", (event) => place(event)?.removeAttribute("aria-busy"));
  document.addEventListener("htmx:error", (event) => {
    const target = place(event);
    if (!target) return;
    const message = document.createElement("p");
    message.className = "notice bad";
    message.setAttribute("role", "alert");
    message.textContent = "No response from the service. Your input is kept. Try again.";
    target.replaceChildren(message);
  });
  const search = document.getElementById("find");
  document.addEventListener("keydown", (key) => {
    const types = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName || "");
    if (search && ((key.key === "/" && !types) || (key.key === "k" && (key.ctrlKey || key.metaKey)))) {
      key.preventDefault();
      search.select();
    } else if (key.key === "Escape" && search?.form.contains(document.activeElement)) {
      document.getElementById("finds").replaceChildren();
      search.focus();
    }
  });
  document.addEventListener("click", (click) => {
    if (search && !search.form.contains(click.target)) document.getElementById("finds").replaceChildren();
  });
  // A part of a live panel that belongs elsewhere on the page, such as the health in its head.
  const mirror = () => {
    for (const part of document.querySelectorAll("[data-mirrors]")) document.getElementById(part.dataset.mirrors)?.replaceChildren(...part.cloneNode(true).childNodes);
  };

  // An address that can be reloaded without sending the form again.
  const done = document.querySelector("[data-address]");
  if (done) history.replaceState(null, "", done.dataset.address + location.hash);

  const named = document.getElementById("zone");
  if (named && zone !== "UTC") named.textContent = `${zone} (${offset(new Date())}); hover over a time to see UTC`;
  enhance(document);
  conditional();
  live();
  setInterval(() => timers(document), 1000);
})();
