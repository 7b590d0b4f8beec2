
// Appended to MkDocs' main.js: say which words of a search no page has.
searchWorker.addEventListener('message', ({data}) => {
  if (data.missing && data.missing.length) {
    const hint = document.createElement('p');
    hint.textContent = 'No page has ' + data.missing.map((word) => `“${word}”`).join(', ') + '. Places with other words:';
    document.getElementById('mkdocs-search-results').prepend(hint);
  }
});
