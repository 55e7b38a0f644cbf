package permission

import "gatehouse/core/permission/model"

// What Compile makes a table of, under the names that its users write.
type (
	File          = model.File
	Permission    = model.Permission
	Role          = model.Role
	Scope         = model.Scope
	Subject       = model.Subject
	Grant         = model.Grant
	Anonymous     = model.Anonymous
	Switch        = model.Switch
	PathVariants  = model.PathVariants
	Activity      = model.Activity
	OwnedActivity = model.OwnedActivity
	Section       = model.Section
)

// The sections, from the laxest to the strictest.
const (
	InPublic        = model.InPublic
	InOptional      = model.InOptional
	InAuthenticated = model.InAuthenticated
	InPermission    = model.InPermission
)

// AnyMethod in an activity stands for every method.
const AnyMethod = model.AnyMethod

// Activities lists the activities of files in the order in which Compile numbers
// them.
func Activities(files ...*File) []OwnedActivity { return model.Activities(files...) }

// InvalidCredentials are the values of Anonymous.InvalidCredential.
var InvalidCredentials = model.InvalidCredentials
