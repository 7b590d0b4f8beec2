// Run the site's search for each line of standard input; print as JSON its first three places, their summaries and the missing words.
const fs = require('fs');
const path = require('path');
const vm = require('vm');

const folder = path.join(process.argv[2], 'search');
const read = (name) => fs.readFileSync(path.join(folder, name), 'utf8');
const messages = [];
const worker = vm.createContext({
  onmessage: null,
  postMessage: (message) => messages.push(message),
  importScripts: (name) => vm.runInContext(read(name), worker),
  XMLHttpRequest: class {
    open(method, name) {
      this.name = name;
    }
    send() {
      this.responseText = read(this.name);
    }
  },
});
worker.self = worker;
vm.runInContext(read('worker.js'), worker);
worker.onmessage({data: {init: true}});
for (const question of fs.readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  worker.onmessage({data: {query: question}});
  const {results, missing} = messages.pop();
  console.log(JSON.stringify({places: results.slice(0, 3).map(({location}) => location), summaries: results.slice(0, 3).map(({summary}) => summary), missing}));
}
