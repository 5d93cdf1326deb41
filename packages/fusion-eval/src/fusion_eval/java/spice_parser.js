// Answers each line of its input with one line, both JSON. Run by the Nashorn engine beside the SPICE 1.0 jar.
//   {"captions": [text, …]}  ->  {"tuples": [[[word, …], …], …]}   what SPICE's own parser proposes for each caption
//   {"words": [word, …]}     ->  {"synsets": [[number, …], …]}     the WordNet synsets that SPICE takes for each word
//   either                   ->  {"error": text}
(function () {
  var answers = java.lang.System.out;
  java.lang.System.setOut(java.lang.System.err); // what the tools print is no answer

  var SpiceParser = Java.type("edu.anu.spice.SpiceParser");
  var threads = parseInt(java.lang.System.getProperty("fusion.threads", "1"), 10);
  var parser = new SpiceParser(null, threads, true);

  function open(owner, name, kind) {
    var member = kind ? owner.getDeclaredMethod(name, kind) : owner.getDeclaredField(name);
    member.setAccessible(true);
    return member;
  }

  var annotator = open(SpiceParser.class, "annotator").get(parser);
  var setUp = new java.util.Properties();
  setUp.setProperty("annotators", java.lang.System.getProperty("fusion.annotators", "tokenize,ssplit,parse,lemma"));
  setUp.setProperty("depparse.extradependencies", "MAXIMAL");
  setUp.setProperty("threads", String(threads));
  var Pipeline = Java.type("edu.stanford.nlp.pipeline.StanfordCoreNLP");
  open(annotator.getClass(), "pipeline").set(annotator, new Pipeline(setUp));

  var generate = open(SpiceParser.class, "generateTuples", java.util.List.class);
  var dictionary = open(SpiceParser.class, "synonyms").get(parser);

  function tuplesOf(captions) {
    var found = generate.invoke(parser, java.util.Arrays.asList(Java.to(captions, "java.lang.String[]")));
    return captions.map(function (caption) {
      return Java.from(found.get(caption)).map(function (tuple) { return Java.from(tuple); });
    });
  }

  function synsetsOf(word) {
    var entry = word.trim().toLowerCase().split(" ").join("_");
    var found = new java.util.TreeSet(dictionary.getSynSets(entry));
    found.addAll(dictionary.getStemSynSets(entry));
    return Java.from(found);
  }

  function answer(question) {
    try {
      if (question.captions) return { tuples: tuplesOf(question.captions) };
      return { synsets: question.words.map(synsetsOf) };
    } catch (failure) {
      return { error: String(failure) };
    }
  }

  var input = new java.io.BufferedReader(new java.io.InputStreamReader(java.lang.System.in, "UTF-8"));
  var output = new java.io.PrintStream(answers, true, "UTF-8");
  for (var line = input.readLine(); line !== null; line = input.readLine()) {
    output.println(JSON.stringify(answer(JSON.parse(line))));
  }
  java.lang.System.exit(0);
})();
