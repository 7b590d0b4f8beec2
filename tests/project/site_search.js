// Run the site's search for each line of standard input; print the locations of the first three places, as JSON.
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
  console.log(JSON.stringify(messages.pop().results.slice(0, 3).map(({location}) => location)));
}
