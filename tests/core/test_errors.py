import pickle

from l4f_datagen.core import errors

EXIT_CODES = {
    "L4FError": 1,
    "UsageError": 2,
    "RecipeError": 2,
    "BelowScore": 3,
    "InputRefused": 4,
    "CheckpointRefused": 4,
    "AnnotationRefused": 4,
    "NetworkError": 5,
    "Interrupted": 130,
}


def test_every_error_has_its_exit_code_and_narrow_ones_are_caught_as_broad_ones():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    public = [kind for kind in kinds if issubclass(kind, Exception)]
    assert {kind.__name__: kind.exit_code for kind in public} == EXIT_CODES
    assert all(issubclass(kind, errors.L4FError) for kind in public)
    assert issubclass(errors.RecipeError, errors.UsageError)
    assert issubclass(errors.CheckpointRefused, errors.InputRefused)
    assert issubclass(errors.AnnotationRefused, errors.InputRefused)


def test_the_text_is_one_line_whatever_was_put_in():
    error = errors.InputRefused("a\n file.png", "is\tnot\r\nan image ", " remove  it")
    assert str(error) == "a file.png: is not an image ; remove it"
    assert (error.subject, error.remedy) == ("a\n file.png", " remove  it")
    assert error.problem == "is\tnot\r\nan image "


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(errors.UsageError("--n", "is 0", "ask for more")))
    assert (type(error), str(error)) == (errors.UsageError, "--n: is 0; ask for more")
    assert (error.subject, error.problem, error.remedy) == ("--n", "is 0", "ask for more")
