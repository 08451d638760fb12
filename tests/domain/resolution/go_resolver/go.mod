module certagent.test/resolver

go 1.23
