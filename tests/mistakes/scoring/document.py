def text(results): raise NotImplementedError
