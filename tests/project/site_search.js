// Run the site's search for each line of standard input; print as JSON its first three places, their summaries and the missing words.
const fs = require('fs');
const path = require('path');
const vm = require('vm');

const folder = path.join(process.argv[2], 'search');
const read = (name) => fs.readFileSync(path.join(folder, name), 'utf8');
const messages = [];
// The worker's globals are those of this script: access to the globals of a vm context is many times slower.
Object.assign(globalThis, {
  self: globalThis,
  onmessage: null,
  postMessage: (message) => messages.push(message),
  importScripts: (name) => vm.runInThisContext(read(name)),
  XMLHttpRequest: class {
    open(method, name) {
      this.name = name;
    }
    send() {
      this.responseText = read(this.name);
    }
  },
});
vm.runInThisContext(read('worker.js'));
onmessage({data: {init: true}});
for (const question of fs.readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  onmessage({data: {query: question}});
  const {results, missing} = messages.pop();
  console.log(JSON.stringify({places: results.slice(0, 3).map(({location}) => location), summaries: results.slice(0, 3).map(({summary}) => summary), missing}));
}
