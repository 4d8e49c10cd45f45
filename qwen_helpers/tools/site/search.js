// How pages are found and ordered, instead of Sphinx's own way, which wants every word on the page: people paste whole
// errors, with their own paths and numbers. The rarer a word is, the more it counts, and three times in a title.
Search.performTermsSearch = (words) => {
  const index = Search._index;
  const scores = new Map();
  for (const word of words)
    for (const [table, weight] of [[index.terms, 1], [index.titleterms, 3]]) {
      const files = Object.hasOwn(table, word) ? [table[word]].flat() : [];
      for (const file of files)
        scores.set(file, (scores.get(file) || 0) + weight * Math.log(1 + index.titles.length / files.length));
    }
  return [...scores]
    .sort((one, other) => other[1] - one[1])
    .slice(0, 20)
    .map(([file, score]) => [
      index.docnames[file], index.titles[file], "", null, score, index.filenames[file], SearchResultKind.text,
    ]);
};
