def run(chosen): raise NotImplementedError
