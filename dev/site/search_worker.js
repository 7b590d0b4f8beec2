// The search of the site, in place of MkDocs' worker. A place is found by the words of its title and text (BM25), and by
// questions that readers ask of it (asked.txt). Messages are those of MkDocs' main.js; loading is synchronous.
'use strict';
importScripts('lunr.js');

// Words of questions that say nothing about the answer, beside the stop words of lunr.
const IDLE = new Set((
  'actually again ago already another anyone anything best better but come comes decide decides difference does did doing don ' +
  'ever every everything exactly find fine finally first give given gets getting go goes going good gone got happened happens ' +
  'happen have has here hour just know leave least let long look looks made make makes many may mean means mine ' +
  'much must need never nothing now often once one ours out over possible problem program put really right ' +
  'say says see seen should show shown somebody someone something still sure take tell thing things today tonight ' +
  'there try two until up us use used using very want wants way went which without wont work works yesterday yet you your'
).split(' '));

// Weights, chosen with the questions of tests/project/site_questions.txt.
const TITLE = 4; // a word of a title, compared with one of the text
const ASKED = 1.5; // a word of an asked question
const SYNONYM = 0.6;
const PARTS = 0.6; // the parts of a word such as MAX_BODY_BYTES
const STOP = 0.15; // a stop word, when two questions are compared
const LIKE = 0.7; // an asked question that equals this one, compared with a text that has all its words

const OF_ONE_PAGE = 2; // as many places of a page come before those of other pages
const SUMMARY = 200; // characters

let places;
let synonyms;
let documents; // for each place the weighted numbers of its words
let meanLength;
let postings; // for each word the places that have it
let questions; // titles and asked questions, each with its place and words
let asking; // for each word the questions that have it

function load(data) {
  places = data.docs;
  synonyms = new Map();
  for (const group of data.synonyms) {
    const stems = group.map(stem);
    stems.forEach((term) => add(synonyms, term, ...stems));
  }
  postings = new Map();
  questions = [];
  asking = new Map();
  documents = places.map((place, number) => {
    const asked = place.asked || [];
    const counts = new Map();
    for (const [text, weight] of [[place.title, TITLE], [place.text, 1], ...asked.map((text) => [text, ASKED])]) {
      for (const {whole, parts} of words(text)) {
        [whole, ...parts].forEach((term) => counts.set(term, (counts.get(term) || 0) + weight));
      }
    }
    counts.forEach((_, term) => add(postings, term, number));
    const title = [place.title.split(' · ')[0], Math.min(1, 2 * place.boost)];
    for (const [text, share] of [title, ...asked.map((text) => [text, 1])]) {
      const terms = new Map(words(text).map(({whole, stop}) => [whole, stop]));
      terms.forEach((_, term) => add(asking, term, questions.length));
      questions.push({number, terms, share});
    }
    return {counts, length: [...counts.values()].reduce((sum, count) => sum + count, 0)};
  });
  questions.forEach((question) => {
    question.weight = [...question.terms].reduce((sum, [term, stop]) => sum + weight(term, stop), 0);
  });
  meanLength = documents.reduce((sum, {length}) => sum + length, 0) / documents.length;
}

function add(lists, key, ...values) {
  lists.has(key) || lists.set(key, []);
  lists.get(key).push(...values);
}

// The words of a text: each with its stem, the stems of its parts, and whether it says nothing.
function words(text) {
  const found = text.split(/[^\p{L}\p{N}_.-]+/u).map((word) => word.replace(/^[_.-]+|[_.-]+$/g, '')).filter(Boolean);
  return found.map((word) => {
    const lower = word.toLowerCase();
    const parts = word.split(/[-_.]+|(?<=[a-z])(?=[A-Z])/);
    const stop = !lunr.stopWordFilter(new lunr.Token(lower)) || IDLE.has(lower);
    return {word, whole: stem(word), parts: parts.length > 1 ? parts.map(stem) : [], stop};
  });
}

const stemmed = new Map(); // of each word; a stemmer costs more than the rest of a search

function stem(word) {
  const lower = word.toLowerCase();
  if (!stemmed.has(lower)) stemmed.set(lower, lunr.stemmer(new lunr.Token(lower)).toString());
  return stemmed.get(lower);
}

function rarity(term) {
  const number = (postings.get(term) || []).length;
  return number && Math.log(1 + (places.length - number + 0.5) / (number + 0.5));
}

function weight(term, stop) {
  return (stop ? STOP : 1) * rarity(term);
}

function sameMeaning({whole}) {
  return new Set((synonyms.get(whole) || []).filter((term) => term !== whole));
}

// For each place the score of one word: of the word itself, of its parts together, or of its best synonym.
function scores(word) {
  const best = new Map();
  const raise = (number, score) => best.set(number, Math.max(best.get(number) || 0, score));
  const each = (term, weight, use) => {
    for (const number of postings.get(term) || []) {
      const {counts, length} = documents[number];
      const count = counts.get(term);
      use(number, weight * rarity(term) * count / (count + 1.2 * (0.4 + 0.6 * length / meanLength)));
    }
  };
  each(word.whole, 1, raise);
  sameMeaning(word).forEach((term) => each(term, SYNONYM, raise));
  const sums = new Map();
  const sum = (number, score) => sums.set(number, (sums.get(number) || 0) + score);
  word.parts.forEach((part) => each(part, PARTS / word.parts.length, sum));
  sums.forEach((score, number) => raise(number, score));
  return best;
}

// For each place its score by the words: that of a place with all of them is about 1. One that lacks words loses twice.
function byText(wanted) {
  const total = new Map();
  let possible = 0;
  for (const word of wanted.filter(({stop}) => !stop)) {
    const found = scores(word);
    const most = Math.max(...[word.whole, ...word.parts, ...sameMeaning(word)].map(rarity));
    possible += most;
    for (const [number, score] of found) {
      const before = total.get(number) || {score: 0, covered: 0};
      total.set(number, {score: before.score + score, covered: before.covered + most});
    }
  }
  return new Map([...total].map(([number, {score, covered}]) => [number, score * covered / possible ** 2]));
}

// For each place how much one of its questions equals this one: the weight of the words of both, divided by that of all.
function byQuestion(wanted) {
  const own = wanted.reduce((sum, {whole, stop}) => sum + weight(whole, stop), 0);
  const common = new Map();
  for (const word of wanted) {
    const terms = new Map([[word.whole, 1], ...[...(word.stop ? [] : sameMeaning(word))].map((term) => [term, SYNONYM])]);
    const met = new Set();
    for (const [term, share] of terms) {
      for (const question of (asking.get(term) || []).filter((question) => !met.has(question))) {
        met.add(question);
        const {shared, matched} = common.get(question) || {shared: 0, matched: 0};
        const more = {shared: shared + share * weight(word.whole, word.stop), matched: matched + weight(term, word.stop)};
        common.set(question, more);
      }
    }
  }
  const best = new Map();
  for (const [question, {shared, matched}] of common) {
    const {number, share, weight: all} = questions[question];
    best.set(number, Math.max(best.get(number) || 0, share * shared / (own + Math.max(0, all - matched))));
  }
  return best;
}

function search(text) {
  const wanted = words(text);
  const textual = byText(wanted);
  const like = byQuestion(wanted);
  const score = (number) => places[number].boost * (textual.get(number) || 0) + LIKE * (like.get(number) || 0);
  const ranked = [...new Set([...textual.keys(), ...like.keys()])].map((number) => [number, score(number)]);
  const found = new Map(); // by location: rows of a table have that of their section
  for (const [number] of ranked.sort((one, other) => other[1] - one[1])) {
    const place = places[number];
    found.set(place.location, found.get(place.location) || place);
  }
  const pages = new Map();
  for (const place of found.values()) {
    add(pages, place.location.split('#')[0], place);
  }
  const isFirst = (place) => pages.get(place.location.split('#')[0]).indexOf(place) < OF_ONE_PAGE;
  const results = [...found.values()];
  const ordered = [...results.filter(isFirst), ...results.filter((place) => !isFirst(place))].slice(0, 50);
  return ordered.map((place) => ({...place, summary: summary(place.text, wanted)}));
}

// The words that no place has, neither whole nor by a word of the same meaning.
function missing(text) {
  const absent = words(text).filter((word) => !word.stop && ![word.whole, ...sameMeaning(word)].some(rarity));
  return absent.map(({word}) => word);
}

// The sentence of a text that has most of the wanted words, and what follows it. In a table it begins with the row's first cell.
function summary(text, wanted) {
  const stems = new Set(wanted.filter(({stop}) => !stop).flatMap((word) => [word.whole, ...sameMeaning(word)]));
  const sentences = text.split(/\ue003[^\ue002]*\ue002|[\ue000\ue002]/).flatMap((part) => {
    const [head, row] = part.split('\ue001').map((each) => each.trim());
    const [first, ...others] = (row ?? head).split(/(?<=[.?!])\s+/);
    const lead = row === undefined ? '' : `${head}: `;
    return [{lead: '', sentence: lead + first}, ...others.map((sentence) => ({lead: lead && `${lead}… `, sentence}))];
  });
  const matches = sentences.map(({sentence}) => new Set(words(sentence).map(({whole}) => whole).filter((term) => stems.has(term))).size);
  const best = matches.indexOf(Math.max(...matches));
  return sentences[best].lead + sentences.slice(best).map(({sentence}) => sentence).join(' ').substring(0, SUMMARY);
}

onmessage = (message) => {
  if (message.data.init) {
    const request = new XMLHttpRequest();
    request.open('GET', 'search_index.json', false);
    request.send();
    const data = JSON.parse(request.responseText);
    load(data);
    postMessage({config: data.config});
    postMessage({allowSearch: true});
  } else if (message.data.query) {
    postMessage({results: search(message.data.query), missing: missing(message.data.query)});
  }
};
