// The search of the site, in place of MkDocs' worker: titles weigh more than texts, guides more than records, and
// words that mean the same find each other. Messages are those of MkDocs' main.js. Loading is synchronous.
'use strict';
importScripts('lunr.js');

// Words of questions that say nothing about the answer.
const IDLE = new Set((
  'difference does did happens happen have has how just least long many may much must need often out see should show ' +
  'shown something take there up use using want way which work works you').split(' '));

let index;
let places;
let synonyms;

function load(data) {
  places = data.docs;
  synonyms = new Map();
  for (const group of data.synonyms) {
    for (const word of group) {
      synonyms.set(word, [...(synonyms.get(word) || []), ...group]);
    }
  }
  index = lunr(function () {
    this.ref('number');
    this.field('title', {boost: 4});
    this.field('text');
    places.forEach((place, number) => this.add({...place, number}, {boost: place.boost}));
  });
}

// A word is found as it is, in its other forms, and by its synonyms. Places with more of the words come first.
function search(text) {
  const words = text.split(/[\s,;:?!()"'`’/]+/).map((word) => word.replace(/^[-+~^*.]+|[~^*.-]+$/g, ''));
  const named = [...new Set(words)].filter((word) => word && lunr.stopWordFilter(new lunr.Token(word.toLowerCase())));
  const telling = named.filter((word) => !IDLE.has(word.toLowerCase()));
  const wanted = (telling.length ? telling : named).map((word) => {
    const own = stems([word, ...word.split(/[-_.]|(?<=[a-z])(?=[A-Z])/)]);
    const others = stems((synonyms.get(word.toLowerCase()) || []).filter((other) => other !== word.toLowerCase()));
    return {own, others};
  });
  if (!wanted.length) {
    return [];
  }
  const results = index.query((query) => {
    for (const {own, others} of wanted) {
      own.forEach((stem) => query.term(stem, {boost: 2, usePipeline: false}));
      others.forEach((stem) => query.term(stem, {boost: 1, usePipeline: false}));
    }
  });
  for (const result of results) {
    const found = Object.keys(result.matchData.metadata);
    result.score *= wanted.filter(({own, others}) => found.some((stem) => own.has(stem) || others.has(stem))).length;
  }
  results.sort((one, other) => other.score - one.score);
  return results.slice(0, 50).map(({ref}) => ({...places[ref], summary: places[ref].text.substring(0, 200)}));
}

function stems(words) {
  const parts = words.flatMap((word) => [word, ...word.split('-')]);
  return new Set(parts.flatMap((part) => index.pipeline.runString(part.toLowerCase())));
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
    postMessage({results: search(message.data.query)});
  }
};
